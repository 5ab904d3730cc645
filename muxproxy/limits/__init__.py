"""Rates of callers (`rates`) and what providers say about their own (`headroom`)."""

from muxproxy.limits.headroom import ProviderHeadroom
from muxproxy.limits.rates import Limits, Ticket, limit_faults, parse_rate

__all__ = ["Limits", "ProviderHeadroom", "Ticket", "limit_faults", "parse_rate"]
