"""The observer on a provider's answer: usage, end, errors, and what was delivered."""

from muxproxy.tap.counting import TokenCounter
from muxproxy.tap.stripper import UsageStripper
from muxproxy.tap.tap import Tap, make_tap

__all__ = ["Tap", "TokenCounter", "UsageStripper", "make_tap"]
