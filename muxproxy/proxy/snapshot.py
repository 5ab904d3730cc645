"""One configuration, compiled: what every exchange that began under it runs on.

Immutable after `build`. A reload builds a new one beside it and swaps the reference; pools,
budgets' usage and the ledger live outside and survive.
"""

from __future__ import annotations

from collections.abc import Mapping

from muxproxy import exchange
from muxproxy.auth import Authenticator
from muxproxy.browser import BrowserRules, is_loopback
from muxproxy.config.model import Config, Provider
from muxproxy.config.units import duration
from muxproxy.exchange import Ask
from muxproxy.headers import Headers
from muxproxy.prices import Prices
from muxproxy.proxy.balancing import groups_of
from muxproxy.proxy.forward import dropped
from muxproxy.proxy.health import Live
from muxproxy.proxy.terms import rule_terms, tries_of
from muxproxy.rules import Rulebook
from muxproxy.upstream import Origin, Times

# Which dialect of provider can answer a caller's dialect without translation.
SERVES: dict[str, tuple[str, ...]] = {
    exchange.OPENAI: (exchange.OPENAI,),
    exchange.RESPONSES: (exchange.RESPONSES, exchange.OPENAI),
    exchange.ANTHROPIC: (exchange.ANTHROPIC,),
    exchange.GEMINI: (exchange.GEMINI,),
}

# Headers of the protocols and the providers' APIs: a rule may read them, and they still go up.
_NOT_PRIVATE = frozenset(
    b"accept accept-encoding accept-language anthropic-beta anthropic-version api-key "
    b"authorization content-encoding content-type cookie openai-beta openai-organization "
    b"openai-project referer user-agent x-api-key x-goog-api-key x-request-id".split()
)


# Openai-compatible providers that are known to have no /responses (their API references).
_WITHOUT_RESPONSES = (
    "api.mistral.ai",
    "api.together.xyz",
    "api.cerebras.ai",
    "api.perplexity.ai",
    "generativelanguage.googleapis.com",
    "api.cohere.com",
    "api.cohere.ai",
    "api.z.ai",
    "api.moonshot.ai",
    "api.writer.com",
)


def served_by(ask: Ask) -> tuple[str, ...]:
    """The dialects of providers that can answer `ask` as it is."""
    return SERVES.get(ask.endpoint) or SERVES[ask.dialect]


class Service:
    """A provider, ready to be called."""

    __slots__ = (
        "added",
        "base_path",
        "config",
        "credentials",
        "dialect",
        "drain",
        "drop",
        "free",
        "host",
        "ident",
        "injects_usage",
        "keepalive",
        "live",
        "name",
        "off",
        "origin",
        "paths",
        "port",
        "responses",
        "slot",
        "speaks",
        "times",
        "tries",
        "variants",
    )

    def __init__(
        self,
        name: str,
        config: Provider,
        origin: Origin,
        *,
        host: str,
        port: int,
        base_path: str,
        injects_usage: bool,
        drain: float | None,
    ) -> None:
        self.name = name
        self.config = config
        self.dialect: str = config.dialect
        self.origin = origin
        self.host = host.lower().removesuffix(".")
        self.port = port
        self.base_path = base_path
        self.free = config.price == "free"
        # The unset variable that its api_key names: usable only with the caller's own key.
        self.off = config.missing_key
        self.injects_usage = injects_usage
        self.responses = config.responses == "on" or (
            config.responses == "auto" and not self.host.endswith(_WITHOUT_RESPONSES)
        )
        self.drain = drain
        self.slot = ""  # which of several keys; "": the first or only one
        self.ident = name
        self.variants: tuple[Service, ...] = ()  # the same provider, once with each of its keys
        self.tries = tries_of(config.retry)
        self.keepalive = None if config.keepalive is None else duration(config.keepalive)
        spec = origin.spec
        self.times = Times(connect=spec.connect, first_byte=spec.first_byte, idle=spec.idle)
        self.live: dict[str, Live] = {}  # by model; the process's own, see compiling
        self.added: Headers = [
            (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in config.headers.items()
        ]
        self.drop: frozenset[bytes] = frozenset()  # set by the snapshot, which knows the rules
        self.paths: dict[tuple[str, str | None, str, str | None], bytes] = {}
        self.speaks: dict[tuple[str, str], str | None] = {}  # filled by translating.spoken


class Snapshot:
    """The compiled configuration."""

    __slots__ = (
        "_hosts",
        "auth",
        "browser",
        "config",
        "groups",
        "prices",
        "private_headers",
        "rulebook",
        "services",
        "terms",
    )

    def __init__(
        self,
        config: Config,
        *,
        rulebook: Rulebook,
        auth: Authenticator,
        browser: BrowserRules,
        prices: Prices,
        services: Mapping[str, Service],
    ) -> None:
        self.config = config
        self.prices = prices
        self.rulebook = rulebook
        self.auth = auth
        self.browser = browser
        self.services = services
        self.terms = rule_terms(config)
        self.groups = groups_of(config, rulebook)
        # Headers that only rules and auth read: they stay here (DESIGN section 8).
        self.private_headers = (rulebook.headers - _NOT_PRIVATE) | {
            name.lower().encode()
            for name in (config.auth.user_header, config.auth.run_header)
            if name
        }
        for service in (one for s in services.values() for one in (s, *s.variants)):
            service.drop = dropped(
                private=self.private_headers,
                static=frozenset(name for name, _ in service.added),
                credentials=bool(service.config.api_key),
            )
        # (host, port) and host -> provider, for absolute-form targets; the first named wins.
        self._hosts: dict[tuple[str, int] | str, str] = {}
        for name, service in services.items():
            self._hosts.setdefault((_plain(service.host), service.port), name)
            for host in (service.host, *service.config.hosts):
                plain = _plain(host)
                if plain != _LOOPBACK:  # there, the port tells one program from another
                    self._hosts.setdefault(plain, name)

    def provider_at(self, host: str, port: int) -> str | None:
        """The provider that an absolute-form or CONNECT target means.

        By its host whatever the port, or another port would slip past the budgets.
        """
        plain = _plain(host)
        return self._hosts.get((plain, port)) or self._hosts.get(plain)


_LOOPBACK = "localhost"


def _plain(host: str) -> str:
    """One spelling per host; this machine has many names for itself."""
    plain = host.lower().removesuffix(".")
    return _LOOPBACK if is_loopback(plain) else plain
