"""Faults that need more than one value to see: names, references, conditions, safety."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from muxproxy.config import examples, units, when
from muxproxy.config.bounds import bounds, has_terms
from muxproxy.config.faults import nearest, suggestion
from muxproxy.config.model import Config, Listen, Rule
from muxproxy.config.notes import Notes, Path
from muxproxy.config.strategies import Strategy

Names = Mapping[str, frozenset[str]]

# Model names have a digit or a hyphen (gpt-4o, mistral-small-latest); a plain word that is no
# alias is rather a slip of the pen.
_MODEL_NAME = re.compile(r".*[\d-].*", re.DOTALL)
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_ORIGIN = re.compile(r"https?://[^/\s@]+|null|\*", re.ASCII)


def examine(config: Config, names: Names, notes: Notes) -> None:
    """Everything that makes the configuration unusable."""
    references = References(config, names, notes)
    _providers(config, notes)
    references.aliases()
    _unique("rules", [r.name for r in config.rules], notes)
    _unique("budgets", [b.name for b in config.budgets], notes)
    _unique("limits", [x.name for x in config.limits], notes)
    for at, rule in enumerate(config.rules):
        _rule(rule, ("rules", at), references, notes)
    _budgets(config, references, notes)
    _limits(config, notes)
    _auth(config, notes)
    _listen(config, notes)
    if config.defaults.model is not None:
        references.check(config.defaults.model, ("defaults", "model"))
    for at, origin in enumerate(config.origins):
        if not _ORIGIN.fullmatch(origin):
            notes.fault(("origins", at), "expected an origin such as https://app.example.com")
    _unknown_price(config.unknown_price, ("unknown_price",), notes)
    _positive(config, notes)
    bounds(config, notes)


class References:
    """What `to`, aliases and budgets may name."""

    def __init__(self, config: Config, names: Names, notes: Notes) -> None:
        # As written, so that an entry with a fault of its own is not unknown as well.
        self.providers = names.get("providers", frozenset()) | set(config.providers)
        self.models = names.get("models", frozenset()) | set(config.models)
        self.listed = {m for p in config.providers.values() for m in p.models}
        self._config = config
        self._notes = notes

    def check(self, name: str, path: Path) -> None:
        """`name` is an alias, provider/model, or looks like a bare model name."""
        if name in self.models or name in self.listed:
            return
        prefix, slash, rest = name.partition("/")
        if slash:
            if prefix in self.providers:
                if not rest:
                    self._notes.fault(path, f"{name} names no model", f"write {name}MODEL")
                return
            close = nearest(prefix, self.providers)
            hint = f"did you mean {close}/{rest}?" if close else self._any_provider(name)
            self._notes.fault(path, f"unknown provider {prefix} in {name}", hint)
            return
        close = nearest(name, self.models)
        if not _MODEL_NAME.fullmatch(name):
            hint = f"did you mean {close}?" if close else suggestion(name, self.models)
            self._notes.fault(path, f"unknown model or alias {name!r}", hint)

    def _any_provider(self, name: str) -> str:
        first = next(iter(sorted(self.providers)), "PROVIDER")
        return f"a model called {name} is written {first}/{name}"

    def aliases(self) -> None:
        """Every alias names something, and none leads back to itself."""
        for alias, spec in self._config.models.items():
            path: Path = ("models", alias)
            if not alias or alias != alias.strip():
                self._notes.fault(path, "expected a name without spaces around it")
            for name, at in targets(spec, path):
                if name != alias:
                    self.check(name, at)
            if isinstance(spec, Strategy):
                _strategy(spec, path, self._notes)
                if spec.examples is not None:
                    examples.examine(spec, path, self._config.providers, self._notes)
                _learning(spec, self._config.routing.learn, path, self._notes)
            elif isinstance(spec, list) and not spec:
                self._notes.fault(path, "an empty list serves nobody", "name a provider/model")
        self._cycles()

    def _cycles(self) -> None:
        edges = {
            # An alias may be called like a model it holds; that is no circle.
            alias: [n for n, _ in targets(spec, ()) if n in self._config.models and n != alias]
            for alias, spec in self._config.models.items()
        }
        done: set[str] = set()
        for start, first in edges.items():
            if start in done:
                continue
            trail, stack = [start], [(start, iter(first))]
            while stack:
                name, following = stack[-1]
                step = next(following, None)
                if step is None:
                    stack.pop()
                    trail.pop()
                    done.add(name)
                elif step in trail:
                    circle = [*trail[trail.index(step) :], step]
                    self._notes.fault(
                        ("models", step), f"aliases in a circle: {' -> '.join(circle)}"
                    )
                elif step not in done:
                    trail.append(step)
                    stack.append((step, iter(edges[step])))


def targets(spec: str | list[str] | Strategy, path: Path) -> list[tuple[str, Path]]:
    """The names that an alias stands for, each with its path."""
    if isinstance(spec, str):
        return [(spec, path)]
    if isinstance(spec, list):
        return [(name, (*path, at)) for at, name in enumerate(spec)]
    found = [
        (name, (*path, field))
        for field, name in (
            ("cheap", spec.cheap),
            ("strong", spec.strong),
            ("agree", spec.agree),
            ("judge", spec.judge),
        )
        if name is not None
    ]
    return found + [(name, (*path, "models", at)) for at, name in enumerate(spec.models)]


def _strategy(spec: Strategy, path: Path, notes: Notes) -> None:
    if not spec.models and (spec.cheap is None or spec.strong is None):
        missing = "strong" if spec.cheap is not None else "cheap"
        notes.fault(path, f"{missing} is missing", "give cheap and strong, or a list of models")
    if spec.threshold is not None and not 0 <= spec.threshold <= 1:
        notes.fault((*path, "threshold"), "expected a number from 0 to 1")
    if not 0 <= spec.band <= 1:
        notes.fault((*path, "band"), "expected a number from 0 to 1")
    if spec.hold is not None and spec.hold < 1:
        notes.fault((*path, "hold"), "expected a number of characters, or null for the answer")
    if spec.weights and len(spec.weights) != len(spec.models):
        notes.fault((*path, "weights"), "expected one weight per entry of models")
    if any(not 0 <= w < 1e9 for w in spec.weights) or (spec.weights and not any(spec.weights)):
        notes.fault((*path, "weights"), "expected weights of 0 or more, one of them above 0")


def _learning(spec: Strategy, learn: str, path: Path, notes: Notes) -> None:
    pair = spec.cheap is not None and spec.strong is not None
    if spec.learn not in (None, "off") and not pair:
        notes.fault((*path, "learn"), "there is nothing to learn without cheap and strong")
    try:
        explored = units.share(spec.explore) > 0
    except units.Expected:  # told elsewhere
        return
    scored = spec.strategy in ("heuristic", "semantic", "hybrid")
    rated = spec.strategy == "cascade" and spec.judge is not None
    if explored and not (pair and (scored or rated)):
        told = "heuristic, semantic, hybrid, and cascade with a judge leave answers unjudged"
        notes.fault((*path, "explore"), f"nothing to explore: only {told}")
    elif explored and (spec.learn or learn) == "off":
        notes.fault(
            (*path, "explore"), "what is explored would be forgotten", "add learn: features"
        )


def _providers(config: Config, notes: Notes) -> None:
    for name, provider in config.providers.items():
        path: Path = ("providers", name)
        if not _PROVIDER_NAME.fullmatch(name):
            notes.fault(path, "a provider's name has letters, digits, _ . - (it stands in URLs)")
        _unknown_price(provider.unknown_price, (*path, "unknown_price"), notes)
        if provider.connect_to is None and _is_own(provider.base_url, config):
            notes.fault(
                (*path, "base_url"),
                "is muxproxy's own address: calls would go in circles",
                "write the provider's, or another listen:",
            )
        if isinstance(provider.on_abort, dict):
            _only(provider.on_abort, {"drain": units.duration}, (*path, "on_abort"), notes)
        for header, value in provider.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", header):
                notes.fault((*path, "headers", header), "expected a header name such as x-team")
            if any(c in "\r\n\0" for c in value):
                notes.fault((*path, "headers", header), "a header's value is one line")


def _is_own(url: str, config: Config) -> bool:
    """Whether a URL leads to where we listen ourselves, as far as its text tells."""
    listen = config.listen.address if isinstance(config.listen, Listen) else config.listen
    try:
        parts, own = urlsplit(url), units.address(listen)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:  # told elsewhere
        return False
    host = (parts.hostname or "").rstrip(".")
    here = units.Endpoint(host, port).loopback or host == own.host.lower()
    return own.unix is None and own.port == port != 0 and here


def _only(
    given: Mapping[str, object], allowed: Mapping[str, object], path: Path, notes: Notes
) -> None:
    """A small mapping: known keys, values that their parser reads."""
    for key, value in given.items():
        parser = allowed.get(key)
        if parser is None:
            notes.fault((*path, key), f"unknown key {key}", suggestion(key, allowed))
        elif callable(parser):
            try:
                parser(value)
            except units.Expected as error:
                notes.fault((*path, key), str(error))
    if not given:
        notes.fault(path, f"expected {{{next(iter(allowed))}: ...}}")


def _unknown_price(value: object, path: Path, notes: Notes) -> None:
    if not isinstance(value, Mapping):
        return
    _only(value, {"input": units.dollars, "output": units.dollars}, path, notes)
    for key in ("input", "output"):
        if value and key not in value:
            notes.fault(path, f"{key} is missing", "write {input: $3, output: $15}")


def _unique(section: str, found: Sequence[str], notes: Notes) -> None:
    first: dict[str, int] = {}
    for at, name in enumerate(found):
        if not name:
            continue
        if name in first:
            other = f"{section}[{first[name]}]"
            notes.fault((section, at, "name"), f"the name {name} is taken by {other}")
        first.setdefault(name, at)


def _rule(rule: Rule, path: Path, references: References, notes: Notes) -> None:
    conditions(rule.when, (*path, "when"), notes)
    to = [rule.to] if isinstance(rule.to, str) else rule.to or []
    for at, name in enumerate(to):
        references.check(name, (*path, "to") if isinstance(rule.to, str) else (*path, "to", at))
    if rule.to == []:
        notes.fault((*path, "to"), "an empty list serves nobody", "name an alias or provider/model")
    tags = [rule.tag] if isinstance(rule.tag, str) else rule.tag or []
    if rule.to is None and rule.deny is None and not rule.set and not tags and not has_terms(rule):
        notes.fault(path, "a rule without any effect", "give it to, deny, set or tag")
    if rule.deny is not None and (rule.to is not None or rule.set or rule.continue_):
        notes.fault((*path, "deny"), "deny ends the request: to, set and continue have no effect")
    for member in rule.set:
        if member in when.NOT_SETTABLE:
            hint = "write to: ..." if member == "model" else ""
            notes.fault((*path, "set", member), f"{member} cannot be set by a rule", hint)


def conditions(value: Mapping[str, object] | None, path: Path, notes: Notes) -> None:
    """Faults of a `when` mapping."""

    def problem(inner: Path, message: str, hint: str) -> None:
        notes.fault((*path, *inner), message, hint)

    when.parse(value, problem)


def _budgets(config: Config, references: References, notes: Notes) -> None:
    names = {b.name for b in config.budgets}
    for at, budget in enumerate(config.budgets):
        path: Path = ("budgets", at)
        conditions(budget.when, (*path, "when"), notes)
        if isinstance(budget.on_exceed, dict):
            _only(budget.on_exceed, {"downgrade": str}, (*path, "on_exceed"), notes)
            if "downgrade" in budget.on_exceed:
                references.check(budget.on_exceed["downgrade"], (*path, "on_exceed", "downgrade"))
        for index, share in enumerate(budget.thresholds):
            if not 0 < share <= 1000:
                notes.fault((*path, "thresholds", index), "expected a percentage such as 80")
        if budget.window.strip().lower() == "run" and budget.per not in ("run", "all"):
            notes.fault((*path, "per"), "a run's budget is counted per run", "write per: run")
    for at, rule in enumerate(config.rules):
        for test in when.tests(when.parse(rule.when, lambda *_: None)):
            if test.field == "budget" and test.arg not in names:
                field = f"budget.{test.arg}"
                hint = suggestion(test.arg, names)
                notes.fault(("rules", at, "when", field), f"unknown budget {test.arg}", hint)


def _limits(config: Config, notes: Notes) -> None:
    for at, limit in enumerate(config.limits):
        path: Path = ("limits", at)
        if limit.requests is None and limit.tokens is None and limit.concurrent is None:
            notes.fault(path, "a limit of nothing", "give requests, tokens or concurrent")
        if limit.concurrent is not None and limit.concurrent < 1:
            notes.fault((*path, "concurrent"), "expected a number above 0")


def _auth(config: Config, notes: Notes) -> None:
    auth = config.auth
    _unique("keys", [k.name for k in config.keys], notes)
    digests: dict[str, int] = {}
    for at, key in enumerate(config.keys):
        path: Path = ("keys", at)
        if (key.sha256 is None) == (key.value is None):
            both = "not both" if key.value is not None else 'such as value: "${APP_KEY}"'
            notes.fault(path, f"expected sha256 or value, {both}")
        digest = (key.sha256 or "").lower()
        if digest and digest in digests:
            notes.fault((*path, "sha256"), f"the same key as keys[{digests[digest]}]")
        digests.setdefault(digest, at)
    if auth.mode == "keys" and not config.keys:
        notes.fault(("auth", "mode"), "mode keys without keys lets nobody in", "add keys:")
    if auth.mode == "jwt":
        notes.fault(("auth", "mode"), "mode jwt is not built yet", "use keys")


def _listen(config: Config, notes: Notes) -> None:
    """An open listener on the network would let anyone spend the provider keys."""
    listen = config.listen
    tls = listen.tls if isinstance(listen, Listen) else None
    text = listen.address if isinstance(listen, Listen) else listen
    places: Iterable[tuple[str | None, Path]] = (
        (text, ("listen", "address") if isinstance(listen, Listen) else ("listen",)),
        (config.admin, ("admin",)),
    )
    for address, path in places:
        if not address or config.auth.mode != "open":
            continue
        try:
            reachable = not units.address(address).loopback
        except units.Expected:
            continue
        # Client certificates say who may call as well as keys do.
        if reachable and not (tls is not None and tls.client_ca and path[0] == "listen"):
            notes.fault(
                path,
                f"{address} is reachable from outside and auth is open: anyone could spend",
                "listen on 127.0.0.1, or set auth: {mode: keys} and keys:",
            )


def _positive(config: Config, notes: Notes) -> None:
    counts: list[tuple[int | None, Path]] = [
        (config.server.max_connections, ("server", "max_connections")),
        (config.defaults.max_tokens, ("defaults", "max_tokens")),
    ]
    for name, provider in config.providers.items():
        path: Path = ("providers", name, "pool")
        counts.append((provider.pool.max_connections, (*path, "max_connections")))
        if provider.pool.max_idle < 0:
            notes.fault((*path, "max_idle"), "expected 0 or more")
    for value, place in counts:
        if value is not None and value < 1:
            notes.fault(place, f"expected a number above 0, got {value}")
    temperature = config.defaults.temperature
    if temperature is not None and not 0 <= temperature <= 2:
        notes.fault(("defaults", "temperature"), "expected a number from 0 to 2")
