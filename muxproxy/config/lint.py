"""Doubts: the configuration works, and probably not as meant."""

from __future__ import annotations

from muxproxy.config import when
from muxproxy.config.covering import covered
from muxproxy.config.model import Config, Intercept, Rule
from muxproxy.config.notes import Notes, Path
from muxproxy.config.units import Expected, amount, rate

_LISTED = ("cheapest", "fastest", "weighted")
_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
_MEANS_PATH = frozenset({"path", "endpoint", "header"})


def examine(config: Config, notes: Notes) -> None:
    """Everything doubtful."""
    _providers(config, notes)
    _shadowed(config, notes)
    _hours(config, notes)
    _zero(config, notes)
    _interception(config, notes)
    if config.keys and config.auth.mode == "open":
        notes.warn(("keys",), "keys are not checked while auth.mode is open", "mode: keys")
    for alias in config.models:
        prefix, slash, _ = alias.partition("/")
        if slash and prefix in config.providers:
            notes.warn(("models", alias), f"this alias hides the model {alias} of {prefix}")


def _providers(config: Config, notes: Notes) -> None:
    if not config.providers:
        notes.warn((), "no providers: there is nowhere to send a request")
    for name, provider in config.providers.items():
        path: Path = ("providers", name, "api_key")
        if provider.missing_key is not None:
            use = "off unless callers bring their own key" if config.auth.mode == "open" else "off"
            notes.warn(path, f"{provider.missing_key} is not set: provider {name} is {use}")
        loopback = any(h in provider.base_url for h in ("//127.", "//localhost", "//[::1]"))
        if (
            (provider.api_key or provider.api_keys)
            and provider.base_url.startswith("http://")
            and not loopback
        ):
            notes.warn(
                ("providers", name, "base_url"), "the key travels unencrypted", "use https://"
            )
        named = {name.lower() for name in provider.headers}
        own = provider.api_key or provider.api_keys
        alone = not own and provider.missing_key is None and not named & _CREDENTIALS
        if alone and config.auth.mode != "open" and not loopback:
            notes.warn(
                ("providers", name),
                "is asked without any key: callers' own are muxproxy's and stay here",
                'give it api_key: "${...}"',
            )
        if provider.insecure_skip_verify:
            notes.warn(
                ("providers", name, "insecure_skip_verify"),
                "certificates are not verified: anyone on the way can read the key",
                "name the authority with ca:",
            )


def _interception(config: Config, notes: Notes) -> None:
    """Ways around the budgets that somebody asked for."""
    if not (config.budgets or config.limits):
        return
    if config.intercept == "off":
        notes.warn(
            ("intercept",),
            "off: calls in tunnels (HTTPS_PROXY) to providers escape budgets and limits",
            "auto answers such tunnels 501 until `muxproxy ca` was run",
        )
    elif isinstance(config.intercept, Intercept) and config.intercept.fail_open:
        hosts = ", ".join(config.intercept.fail_open)
        notes.warn(
            ("intercept", "fail_open"),
            f"tunnels to {hosts} escape budgets and limits while their clients refuse the CA",
        )


def _shadowed(config: Config, notes: Notes) -> None:
    """Rules that no request reaches."""
    catcher: tuple[int, Rule] | None = None
    taken = dict(covered(config.rules))
    seen: dict[str, int] = {}
    for at, rule in enumerate(config.rules):
        fields = _fields(rule)
        if catcher is not None and (_to_all(catcher[1]) or not fields & _MEANS_PATH):
            where = f"rules[{catcher[0]}] {catcher[1].name}"
            notes.warn(("rules", at), f"never reached: {where} always matches", "move it up")
            continue
        ends = not rule.continue_ and not rule.shadow
        key = repr(rule.when or {})
        if key in seen and rule.when:
            earlier = config.rules[seen[key]].name
            notes.warn(
                ("rules", at, "when"), f"never matches: rule {earlier} has the same conditions"
            )
        elif at in taken:
            earlier = config.rules[taken[at]].name
            notes.warn(
                ("rules", at, "when"),
                f"never matches: rule {earlier} takes all that it asks for",
                f"move it above {earlier}",
            )
        elif ends:
            seen[key] = at
        if ends and not rule.when and (catcher is None or _to_all(rule)):
            catcher = (at, rule)


def _fields(rule: Rule) -> frozenset[str]:
    tree = when.parse(rule.when, lambda *_: None)
    return frozenset(test.field for test in when.tests(tree))


def _to_all(rule: Rule) -> bool:
    """A rule without `to` applies to every path; one with `to` only to chat."""
    return rule.to is None


def _hours(config: Config, notes: Notes) -> None:
    for at, rule in enumerate(config.rules):
        given = rule.when or {}
        if ({"hour", "weekday"} & set(given)) and "tz" not in given:
            field = "hour" if "hour" in given else "weekday"
            notes.warn(("rules", at, "when", field), "is read in UTC", "add tz: Europe/Berlin")


def _zero(config: Config, notes: Notes) -> None:
    """Ceilings that no request can meet."""
    for at, budget in enumerate(config.budgets):
        try:
            nothing = amount(budget.limit).value == 0
        except Expected:
            continue
        if nothing and not budget.shadow and budget.on_exceed != "warn":
            notes.warn(("budgets", at, "limit"), "no request can meet a limit of nothing")
    for at, limit in enumerate(config.limits):
        for field, text in (("requests", limit.requests), ("tokens", limit.tokens)):
            try:
                if text is not None and rate(text).number == 0:
                    notes.warn(("limits", at, field), "no request can meet a limit of nothing")
            except Expected:
                continue
