"""Log lines: text for people, JSON for machines, on stderr.

Nothing here ever receives a prompt, a key or a body; callers pass names, numbers and codes.
"""

from __future__ import annotations

import logging
import sys
import time

import orjson

LOGGER = "muxproxy"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in vars(record).items() if k not in _STANDARD and v is not None}


def _clean(value: object) -> object:
    """A value on one line: what a client sent must not be able to forge a log line."""
    if isinstance(value, str) and not value.isprintable():
        return value.encode("unicode_escape").decode("ascii")
    return value


class TextFormatter(logging.Formatter):
    """`12:00:01.123 INFO message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        extras = _extras(record)
        if "line" in extras:  # made for people
            pairs = f" {_clean(extras['line'])}"
        else:
            pairs = "".join(f" {k}={_clean(v)}" for k, v in extras.items())
        line = f"{stamp}.{int(record.msecs):03d} {record.levelname:<7} {record.getMessage()}{pairs}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (Unix seconds), level, event, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_extras(record),
        }
        fields.pop("line", None)
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str).decode()


def setup(format: str, level: str) -> logging.Logger:
    """Configure the `muxproxy` logger once per process; returns it. `auto`: text on a terminal,
    JSON elsewhere."""
    if format == "auto":
        format = "text" if sys.stderr.isatty() else "json"
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    return logger


def level(name: str) -> None:
    """Log from this level on, where `setup` has been asked to log at all."""
    if logger().handlers:
        logger().setLevel(name.upper())


def logger() -> logging.Logger:
    """The product's one logger."""
    return logging.getLogger(LOGGER)
