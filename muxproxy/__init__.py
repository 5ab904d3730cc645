"""muxproxy: an LLM gateway that runs beside one app. See docs/ for the road of a request."""

__version__ = "0.1.0"
