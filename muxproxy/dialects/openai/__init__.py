"""OpenAI chat completions, and what calls itself compatible, against the neutral form."""
