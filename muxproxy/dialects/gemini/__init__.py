"""Gemini generateContent: its requests, answers, streams and errors against the neutral form."""
