"""What the environment and the command line put over the file.

Precedence: defaults < file < environment < flags. MUXPROXY_LISTEN and MUXPROXY_STATE replace what
the file says, flags replace those. The names that ModelMuxer used fill in what the file leaves
open: DEFAULT_MODEL, MAX_TOKENS_DEFAULT, TEMPERATURE_DEFAULT (`defaults`), DEFAULT_DAILY_BUDGET,
DEFAULT_MONTHLY_BUDGET (a budget per key, unless the file has one for that window or name) and
ALLOWED_API_KEYS (comma separated; turns `auth.mode` to keys unless the file says a mode).
DEBUG=true logs every call and all else that is logged, where the file does not say.

Pure functions: the environment comes in as a mapping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from muxproxy.config import units
from muxproxy.config.faults import Fault
from muxproxy.config.model import Budget, Config, Key, Listen

LISTEN = "MUXPROXY_LISTEN"
STATE = "MUXPROXY_STATE"


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; None: nothing."""

    listen: str | None = None
    state: str | None = None


def apply(
    config: Config,
    given: Callable[[str], bool],
    env: Mapping[str, str],
    flags: Flags,
) -> tuple[Config, list[Fault], list[Fault]]:
    """(the configuration, faults, warnings). `given(dotted)` says whether the file sets a key."""
    layer = _Layer(env)
    changes: dict[str, Any] = {}
    listen = _first((flags.listen, "--listen"), (env.get(LISTEN), LISTEN))
    if listen is not None and layer.read(listen[1], listen[0], units.address) is not None:
        whole = isinstance(config.listen, Listen)
        changes["listen"] = _with_address(config.listen, listen[0]) if whole else listen[0]
    state = _first((flags.state, "--state"), (env.get(STATE), STATE))
    if state is not None:
        changes["state"] = state[0]
    defaults = layer.defaults(given)
    if defaults:
        changes["defaults"] = msgspec.structs.replace(config.defaults, **defaults)
    if env.get("DEBUG", "").strip().lower() in ("true", "1"):
        wanted = {"level": "debug", "exchanges": "all"}
        found = {name: value for name, value in wanted.items() if not given(f"log.{name}")}
        changes["log"] = msgspec.structs.replace(config.log, **found)
    budgets = layer.budgets(config)
    if budgets:
        changes["budgets"] = [*config.budgets, *budgets]
    keys = _keys(config, env)
    if keys and given("auth.mode") and config.auth.mode == "open":
        layer.warn("ALLOWED_API_KEYS", "is not used: the file says auth.mode: open")
    elif keys:
        changes["keys"] = [*config.keys, *keys]
        if not given("auth.mode"):
            changes["auth"] = msgspec.structs.replace(config.auth, mode="keys")
    changed = msgspec.structs.replace(config, **changes) if changes else config
    return changed, layer.faults, layer.warnings


def _first(*found: tuple[str | None, str]) -> tuple[str, str] | None:
    return next(((value, name) for value, name in found if value), None)


def _with_address(listen: str | Listen, address: str) -> str | Listen:
    if isinstance(listen, Listen):
        return msgspec.structs.replace(listen, address=address)
    return address


class _Layer:
    """Reads variables; a bad one is a fault that names it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def read(self, name: str, text: str, parser: Callable[[str], Any]) -> Any:
        try:
            return parser(text)
        except units.Expected as error:
            message = f"expected {error.expected}"
        except ValueError:
            message = "expected a number"
        path = "command line" if name.startswith("-") else "environment"
        self.faults.append(Fault(path=path, line=0, column=0, field=name, message=message))
        return None

    def warn(self, name: str, message: str) -> None:
        self.warnings.append(
            Fault(path="environment", line=0, column=0, field=name, message=message)
        )

    def defaults(self, given: Callable[[str], bool]) -> dict[str, Any]:
        wanted: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
            ("DEFAULT_MODEL", "model", str),
            ("MAX_TOKENS_DEFAULT", "max_tokens", _positive),
            ("TEMPERATURE_DEFAULT", "temperature", _temperature),
        )
        found: dict[str, Any] = {}
        for name, field, parser in wanted:
            text = self._env.get(name, "").strip()
            if text and not given(f"defaults.{field}"):
                value = self.read(name, text, parser)
                if value is not None:
                    found[field] = value
        return found

    def budgets(self, config: Config) -> list[Budget]:
        names = {b.name for b in config.budgets}
        windows = {b.window.strip().lower() for b in config.budgets}
        found: list[Budget] = []
        for variable, name, window in (
            ("DEFAULT_DAILY_BUDGET", "daily", "day"),
            ("DEFAULT_MONTHLY_BUDGET", "monthly", "month"),
        ):
            text = self._env.get(variable, "").strip()
            open_ = text and name not in names and window not in windows
            if open_ and self.read(variable, text, units.dollars) is not None:
                found.append(Budget(name=name, per="key", limit=text, window=window))
        return found


def _positive(text: str) -> int:
    value = units.count(text)
    if value <= 0:
        raise units.Expected("a number above 0", text)
    return value


def _temperature(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 2:
        raise units.Expected("a number from 0 to 2", text)
    return value


def _keys(config: Config, env: Mapping[str, str]) -> list[Key]:
    """ALLOWED_API_KEYS as hashed keys; each is named after its hash, so that its budget stays its
    own when the list is reordered."""
    known = {k.sha256.lower() for k in config.keys if k.sha256 is not None}
    found: list[Key] = []
    for raw in env.get("ALLOWED_API_KEYS", "").split(","):
        if not raw.strip():
            continue
        digest = hashlib.sha256(raw.strip().encode("utf-8", "surrogateescape")).hexdigest()
        if digest not in known:
            known.add(digest)
            found.append(Key(name=f"env-{digest[:8]}", sha256=digest))
    return found
