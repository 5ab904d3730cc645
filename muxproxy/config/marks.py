"""What the configuration's structs are made of: marked text fields and secrets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are errors."""


class Secret(str):
    """A string that shows as *** in repr, str, f-strings and %-formatting.

    Real string operations (`+`, `.encode()`, `==`, hashing) see the value; `reveal()` gives it
    as a plain str.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def reveal(self) -> str:
        """The value itself."""
        return str.__getitem__(self, slice(None))


def _kind(name: str, *examples: str | int) -> Meta:
    """Marks a text field that `config.load` reads with the parser of that name."""
    extra: dict[str, Any] = {"examples": list(examples)} if examples else {}
    return Meta(extra={"kind": name}, extra_json_schema=extra)


Duration = Annotated[str, _kind("duration", "250ms", "30s", "5m", "12h", "7d")]
Delay = Annotated[str, _kind("delay", "p95", "p99", "800ms")]
Size = Annotated[str | int, _kind("size", "64KiB", "64MiB", "10MB", 65536)]
RateText = Annotated[str, _kind("rate", "10/s", "600/min", "200k/hour")]
WindowText = Annotated[
    str, _kind("window", "minute", "hour", "day", "week", "month", "rolling 24h", "prepaid", "run")
]
Amount = Annotated[str | int | float, _kind("amount", "$10", "200k tokens")]
Share = Annotated[str | int | float, _kind("share", "2%", 0.02)]
Zone = Annotated[str, _kind("zone", "UTC", "Europe/Berlin")]
Url = Annotated[str, _kind("url", "https://api.openai.com/v1")]
Egress = Annotated[str, _kind("egress", "http://proxy.corp:3128", "none")]
Address = Annotated[str, _kind("address", "127.0.0.1:8787", "[::1]:8787", "unix:/run/mux.sock")]
State = Annotated[str, _kind("state", "./muxproxy.db")]
HeaderName = Annotated[str, _kind("header", "x-user")]
Digest = Annotated[str, _kind("sha256")]
Hidden = Annotated[str, _kind("secret")]
Glob = Annotated[str, _kind("glob", "gpt-4o*")]
HostGlob = Annotated[str, _kind("hostglob", "api.example.com", "*.example.com")]
HostPort = Annotated[str, _kind("hostport", "10.0.0.5:443")]
# Set by the loader, never by a user: not in the schema, refused in the file.
Internal = Annotated[str, _kind("internal")]

Scope = Literal["all", "key", "user", "team", "tag", "model", "provider", "rule", "run"]
