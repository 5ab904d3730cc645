"""A checked configuration -> the snapshot that exchanges run on. Built by hand, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from muxproxy.auth import Authenticator
from muxproxy.browser import BrowserRules, is_loopback
from muxproxy.budget import budget_faults, runaway_faults
from muxproxy.config import units
from muxproxy.config.model import Config, Listen, Provider
from muxproxy.config.notes import Note
from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Ask, Caller
from muxproxy.headers import Headers
from muxproxy.limits import limit_faults
from muxproxy.prices import Prices, override_faults
from muxproxy.proxy import Service, Snapshot
from muxproxy.proxy.forward import credential_for
from muxproxy.proxy.health import Health
from muxproxy.proxy.health.probes import Probe
from muxproxy.proxy.strategies import Strategies
from muxproxy.routing.judgement import COUNTS, weights_at
from muxproxy.routing.weights import BadWeights
from muxproxy.rules import Rulebook, compile_rules, compile_when
from muxproxy.upstream import Origin, Upstreams, spec_from

# OpenAI-chat upstreams known to accept stream_options.include_usage (recorded traffic), by host
# or, for relays under another host, by the provider's name. Mistral answers unknown fields with
# 422 and reports usage unasked, as OpenRouter does.
_INJECT_HOSTS = (
    "api.openai.com",
    "openai.azure.com",
    "api.groq.com",
    "api.deepseek.com",
    "api.x.ai",
    "api.together.xyz",
    "api.fireworks.ai",
    "api.cerebras.ai",
)
_INJECT_NAMES = frozenset(
    {"openai", "azure", "groq", "deepseek", "xai", "together", "fireworks", "cerebras", "ollama"}
)
_REPORTS_ANYWAY = frozenset({"mistral", "openrouter", "perplexity"})


def unreadable_terms(config: Config) -> list[Note]:
    """What budgets, limits, prices and strategies could not read of the configuration."""
    found = [
        *budget_faults(config.budgets, time.time()),
        *runaway_faults(config.runaway),
        *limit_faults(config.limits),
        *override_faults(config.prices),
    ]
    notes = [Note(_path(where), text) for where, text in found]
    return [*notes, *_counts(config), *_weights(config)]


def _counts(config: Config) -> list[Note]:
    """What `counts` of an alias names and nobody counts."""
    return [
        Note(("models", alias, "counts", name), f"expected one of {', '.join(sorted(COUNTS))}")
        for alias, spec in config.models.items()
        if isinstance(spec, Strategy)
        for name in spec.counts
        if name not in COUNTS
    ]


def _weights(config: Config) -> list[Note]:
    """A file of weights that is not there or cannot be used."""
    path = config.routing.weights
    if path is None:
        return []
    try:
        weights_at(path)
    except OSError as error:
        why, hint = f"{path}: {error.strerror}", "make it with muxproxy train"
    except BadWeights as error:
        why, hint = f"{path}: {error}", ""
    else:
        return []
    return [Note(("routing", "weights"), why, hint)]


def _path(dotted: str) -> tuple[str | int, ...]:
    """`budgets.0` -> ("budgets", 0); a price's glob may hold dots itself."""
    head, _, rest = dotted.partition(".")
    if head == "prices":
        return (head, rest)
    return (head, *(int(part) if part.isdigit() else part for part in rest.split(".")))


TERMS = (unreadable_terms,)


class Heavy(msgspec.Struct, frozen=True):
    """What takes long to compile and needs no loop: a reload makes it in a thread."""

    rulebook: Rulebook
    prices: Prices
    strategies: Strategies


def compile_heavy(config: Config) -> Heavy:
    """Raises ValueError for what cannot be served."""
    prices = Prices.load(config.prices, config.providers)
    strategies = Strategies(config, prices)
    return Heavy(compile_rules(config, strategies), prices, strategies)


def compile_snapshot(
    config: Config,
    upstreams: Upstreams,
    env: Mapping[str, str],
    health: Health,
    heavy: Heavy | None = None,
) -> Snapshot:
    """Raises ValueError for what cannot be served."""
    heavy = heavy or compile_heavy(config)
    heavy.strategies.health = health
    services = {
        name: _service(name, provider, upstreams.origin(spec_from(provider, env)), health)
        for name, provider in config.providers.items()
    }
    return Snapshot(
        config,
        rulebook=heavy.rulebook,
        auth=Authenticator(config.auth, config.keys),
        browser=BrowserRules([endpoint(config).host], config.hosts, config.origins),
        prices=heavy.prices,
        services=services,
    )


def budget_predicates(
    config: Config,
) -> dict[str, Callable[[Caller, Ask, Headers, float], bool]]:
    """The compiled `when` of budgets, called with the context that booking hands them."""
    return {b.name: compile_when(b.when) for b in config.budgets if b.when is not None}


def endpoint(config: Config) -> units.Endpoint:
    """Where the main door listens."""
    listen = config.listen
    return units.address(listen.address if isinstance(listen, Listen) else listen)


def _service(name: str, provider: Provider, origin: Origin, health: Health) -> Service:
    spec = origin.spec
    drain = provider.on_abort if isinstance(provider.on_abort, dict) else {}
    service = Service(
        name,
        provider,
        origin,
        host=spec.host,
        port=spec.port,
        base_path=urlsplit(provider.base_url).path.rstrip("/"),
        injects_usage=_injects(name, provider, spec.host),
        drain=units.duration(drain["drain"]) if "drain" in drain else None,
    )
    service.live = health.models_of(name)
    if provider.api_keys:
        service.variants = tuple(
            _with_key(name, provider, key, at, origin, health)
            for at, key in enumerate(provider.api_keys)
        )
        service.config = service.variants[0].config
    return service


def _with_key(
    name: str, provider: Provider, key: str, at: int, origin: Origin, health: Health
) -> Service:
    """The provider as it is with one of its keys."""
    alone = msgspec.structs.replace(provider, api_key=key, api_keys=[])
    service = _service(name, alone, origin, health)
    if at:
        service.slot = f"#{at + 1}"
        service.ident = name + service.slot
    return service


_LISTS = {"anthropic": "/v1/models", "gemini": "/v1beta/models"}


def probes(services: Mapping[str, Service]) -> dict[str, Probe]:
    """What to ask the providers that are to be probed."""
    found = {}
    for name, service in services.items():
        probe, key = service.config.probe, service.config.api_key
        if probe is None:
            continue
        path = probe.path if probe.path is not None else _LISTS.get(service.dialect, "/models")
        headers = list(service.added)
        if key:
            headers.append(credential_for(service.dialect, key, {}, service.host))
        found[name] = Probe(
            service.origin,
            (service.base_path + path).encode("ascii"),
            tuple(headers),
            every=units.duration(probe.every),
            timeout=units.duration(probe.timeout),
            failures=probe.failures,
        )
    return found


def _injects(name: str, provider: Provider, host: str) -> bool:
    """Whether streams need stream_options.include_usage, and the provider accepts it."""
    if provider.dialect != "openai" or provider.usage_injection == "off":
        return False
    if provider.usage_injection == "on":
        return True
    if name in _REPORTS_ANYWAY:
        return False
    return name in _INJECT_NAMES or host.endswith(_INJECT_HOSTS) or is_loopback(host)
