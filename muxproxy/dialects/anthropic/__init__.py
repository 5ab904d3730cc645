"""Anthropic Messages against the neutral form."""
