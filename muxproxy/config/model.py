"""The YAML file as frozen structs: every key a user may write, with its default.

Values are as written; `config.units` reads durations, sizes, rates and money, `config.load`
builds the tree and reports faults, `config.schema` makes the JSON Schema from these structs. The
string under a field is its documentation and its description in the schema. Nobody but
`config.load`'s caller reads the environment or the file.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from muxproxy.config.marks import (
    Address,
    Amount,
    Digest,
    Duration,
    Egress,
    Glob,
    HeaderName,
    Hidden,
    HostGlob,
    HostPort,
    Internal,
    RateText,
    Scope,
    Size,
    State,
    Strict,
    Url,
    WindowText,
    Zone,
)
from muxproxy.config.resilience import (
    Breaker,
    CacheBounds,
    Hedge,
    Probe,
    Retry,
    RuleCache,
    RuleTimeouts,
)
from muxproxy.config.strategies import ExampleRoute as ExampleRoute  # noqa: PLC0414 (documented)
from muxproxy.config.strategies import Examples as Examples  # noqa: PLC0414 (documented)
from muxproxy.config.strategies import Routing, Strategy


class Tls(Strict, frozen=True, kw_only=True):
    """A TLS listener: PEM files; `client_ca` turns on mutual TLS."""

    cert: str
    """PEM file with the certificate chain."""
    key: str
    """PEM file with the private key."""
    client_ca: str | None = None
    """PEM file of the authority whose client certificates are required."""
    http2: bool = True
    """Offer HTTP/2 by ALPN."""


class Listen(Strict, frozen=True, kw_only=True):
    """Where to listen, with TLS."""

    address: Address = "127.0.0.1:8787"
    """host:port, :port or unix:/path."""
    tls: Tls | None = None


class JwtAuth(Strict, frozen=True, kw_only=True):
    """How callers' tokens are verified with `mode: jwt`."""

    jwks: str | None = None
    """URL or file of the key set."""
    issuer: str | None = None
    """Required `iss`."""
    audience: str | None = None
    """Required `aud`."""


class Auth(Strict, frozen=True, kw_only=True):
    """Who may call."""

    mode: Literal["open", "keys", "jwt"] = "open"
    """open: anyone who reaches the listener (loopback only). keys: holders of a key of `keys:`."""
    user_header: HeaderName | None = None
    """A request header that names the user."""
    run_header: HeaderName | None = None
    """A request header that names the run, besides x-muxproxy-run."""
    run: str | None = None
    """The run that every call belongs to, whatever its headers say."""
    jwt: JwtAuth | None = None


class Key(Strict, frozen=True, kw_only=True):
    """One muxproxy key. Exactly one of `sha256` and `value`."""

    name: str
    """What budgets, logs and reports call it; never secret."""
    sha256: Digest | None = None
    """Hex SHA-256 of the key."""
    value: Hidden | None = None
    """The key itself, from the environment: "${APP_KEY}"."""
    user: str | None = None
    team: str | None = None
    tags: list[str] = []
    models: list[Glob] | None = None
    """Globs of aliases and models this key may use; null: all."""


class Timeouts(Strict, frozen=True, kw_only=True):
    """How long to wait for a provider."""

    connect: Duration = "10s"
    """TCP and TLS."""
    first_byte: Duration = "600s"
    """From the request sent to the head of the answer."""
    idle: Duration = "120s"
    """Between two reads of a body."""
    total: Duration | None = None
    """The whole exchange; null: no bound."""


class Pool(Strict, frozen=True, kw_only=True):
    """Connections kept per origin."""

    max_connections: int = 1000
    max_idle: int = 100
    idle_expiry: Duration = "50s"


class Provider(Strict, frozen=True, kw_only=True):
    """One upstream API."""

    dialect: Literal["openai", "responses", "anthropic", "gemini"]
    """The wire format it speaks. responses: reached only through the Responses API."""
    base_url: Url
    """Where it is; a path such as /v1 is kept."""
    api_key: Hidden | None = None
    """Replaces the caller's. Unset: the caller's own key passes through (auth open)."""
    api_keys: list[Hidden] = []
    """Several, in place of `api_key`: spread by what each has left, one per conversation."""
    price: Literal["free"] | None = None
    """free: a local model that never touches a dollar budget."""
    unknown_price: Literal["deny", "allow"] | dict[str, str | int | float] | None = None
    """As the global `unknown_price`, for this provider."""
    usage_injection: Literal["auto", "on", "off"] = "auto"
    """Ask for usage in streams (stream_options.include_usage) and take the extra chunk out."""
    responses: Literal["auto", "on", "off"] = "auto"
    """Whether an openai provider has /responses; else calls of that API are translated to chat."""
    hosts: list[str] = []
    """Further hosts of absolute-form requests and tunnels that mean this provider."""
    headers: dict[str, str] = {}
    """Set on every request sent to it."""
    connect_to: HostPort | None = None
    """Where its connections lead, in place of base_url's host and port; TLS and Host stay its."""
    ca: str | None = None
    """PEM file trusted besides the system's store."""
    insecure_skip_verify: bool = False
    proxy: Egress | None = None
    """Egress proxy; default from HTTPS_PROXY and NO_PROXY; none: direct."""
    timeouts: Timeouts = Timeouts()
    pool: Pool = Pool()
    retry: Retry | None = None
    """More tries of it, before another candidate is asked; null: none."""
    breaker: Breaker = Breaker()
    """When its models are passed over because they fail."""
    probe: Probe | None = None
    """Ask it every so often whether it is there; null: only calls show."""
    keepalive: Duration | None = None
    """A comment (Anthropic: a ping) into streams that are silent for so long; null: never."""
    models: list[str] = []
    """Names shown in /v1/models."""
    websocket: Literal["auto", "on", "off"] = "auto"
    """Upgrades: auto passes them through, except on /v1/responses, where 426 makes clients post
    at once; on: there too; off: 426 for all."""
    on_abort: Literal["cancel"] | dict[str, str] = "cancel"
    """When the caller leaves: cancel, or {drain: 30s} to read the rest and learn the usage."""
    missing_key: Internal | None = None
    """The unset environment variable that `api_key` named; None: the key is set or not needed."""


class Rule(Strict, frozen=True, kw_only=True):
    """First match wins; `continue: true` goes on after its effects."""

    name: str
    when: dict[str, Any] | None = None
    """Conditions, all of which must hold; absent: every request."""
    to: str | list[str] | None = None
    """Where it goes: an alias, provider/model, or a list in order of fall-back."""
    deny: str | None = None
    """Refuse with this text (403)."""
    set: dict[str, Any] = {}
    """Members put into the request body, such as {max_tokens: 1024}."""
    tag: str | list[str] | None = None
    """Tags for budgets, reports and later rules."""
    continue_: bool = msgspec.field(name="continue", default=False)
    """Go on to the next rules after these effects."""
    shadow: bool = False
    """Record that it would have matched, and do nothing."""
    retry: Retry | None = None
    """As the provider's; before it."""
    timeouts: RuleTimeouts | None = None
    """As the provider's; before them."""
    keepalive: Duration | None = None
    """As the provider's; before it."""
    hedge: Hedge | None = None
    """Ask a second time where the first is slow, and take the answer that comes first; null: no."""
    cache: RuleCache | None = None
    """Give answers to identical, deterministic requests again; null: never."""
    sticky: bool = True
    """A choice made from text stays with its conversation."""


class Budget(Strict, frozen=True, kw_only=True):
    """A ceiling in dollars ("$10") or tokens ("200k tokens")."""

    name: str
    per: Scope = "all"
    """Whose spending is counted together."""
    limit: Amount
    window: WindowText = "day"
    """minute hour day week month | rolling 24h | prepaid | run."""
    tz: Zone = "UTC"
    """IANA time zone in which windows begin."""
    hold: Literal["expected", "worst"] = "expected"
    """How much a request reserves before it is forwarded."""
    clamp: bool = False
    """Lower max_tokens to what the budget still affords."""
    on_exceed: Literal["block", "warn"] | dict[str, str] = "block"
    """block (402), warn, or {downgrade: ALIAS}."""
    thresholds: list[int] = msgspec.field(default_factory=lambda: [50, 80, 100])
    """Percentages at which an event is reported, once per window."""
    stop_stream: bool = False
    """End a running stream at the limit."""
    shadow: bool = False
    """Count and report, refuse nothing."""
    when: dict[str, Any] | None = None
    """Which requests it covers; absent: all."""


class Limit(Strict, frozen=True, kw_only=True):
    """Rates such as 600/min, 200k/hour; `concurrent` is a count in flight."""

    name: str
    per: Scope = "all"
    requests: RateText | None = None
    tokens: RateText | None = None
    concurrent: int | None = None


class RunawayGuard(Strict, frozen=True, kw_only=True):
    """Stops an agent in a loop with a 429, per run, or per key where no run is named."""

    dollars_per_minute: str | int | float | None = None
    """What a run may spend within a minute, such as $2."""
    repeats: int | None = None
    """How often in a row the same request, or tool call with the same arguments, may come."""


class Server(Strict, frozen=True, kw_only=True):
    """Bounds of the door."""

    max_header_bytes: Size = "64KiB"
    max_body_bytes: Size = "64MiB"
    header_timeout: Duration = "30s"
    body_timeout: Duration = "60s"
    """Without a byte of the request body."""
    min_body_rate: Size = 512
    """Bytes a second that a body must come at on average, once `body_timeout` has passed."""
    keep_alive: Duration = "75s"
    max_connections: int = 20000
    max_in_flight: int | None = None
    """Calls under way at once; more wait or are answered 503. null: no bound."""
    max_queue: int = 0
    """Calls that may wait to begin, of those beyond `max_in_flight`."""
    queue_timeout: Duration = "1s"
    """Then one that waits is answered 503."""
    max_body_memory: Size = "1GiB"
    """Bytes of request bodies collected at once; calls beyond it are answered 503."""
    inside_hosts: list[str] = []
    """Loopback, link-local and metadata hosts that absolute-form and CONNECT may reach."""
    unknown_hosts: Literal["forward", "refuse"] = "forward"
    """Absolute-form requests to a host of no provider."""
    connect: Literal["tunnel", "refuse"] = "tunnel"
    """CONNECT to a host of no provider."""


class Intercept(Strict, frozen=True, kw_only=True):
    """Tunnels (HTTPS_PROXY) that are opened and read, with certificates of the local CA."""

    hosts: list[HostGlob] = []
    """Hosts besides the providers': forwarded as they are, counted in metrics only."""
    ca: str = "./muxproxy-ca"
    """The folder of the CA; `muxproxy ca` makes it."""
    fail_open: list[HostGlob] = []
    """Hosts whose tunnels pass unread (and unmetered!) while their clients refuse the CA."""


class Defaults(Strict, frozen=True, kw_only=True):
    """Used where the caller says nothing."""

    model: str | None = None
    """An alias, provider/model or a bare name."""
    max_tokens: int | None = None
    temperature: float | None = None


class Log(Strict, frozen=True, kw_only=True):
    """What is logged. Bodies and keys never are."""

    format: Literal["auto", "text", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    exchanges: Literal["all", "errors", "off"] = "errors"
    """Which calls get a log line."""


class Config(Strict, frozen=True, kw_only=True):
    """The whole file."""

    include: str | list[str] = []
    """Further files (globs too), relative to this one: lists are joined, names put together."""
    listen: Address | Listen = "127.0.0.1:8787"
    """host:port, :port or unix:/path; a mapping for TLS."""
    admin: Address | None = None
    """null: the control plane on the same door; host:port: a door of its own."""
    state: State = "./muxproxy.db"
    """The SQLite file, or redis://... / postgresql://... for a fleet."""
    auth: Auth = Auth()
    keys: list[Key] = []
    hosts: list[str] = []
    """Further names accepted in Host, besides loopback and the listen address."""
    origins: list[str] = []
    """Web origins whose pages may call."""
    server: Server = Server()
    intercept: Literal["auto", "off"] | list[HostGlob] | Intercept = "auto"
    """auto: tunnels to providers are read once `muxproxy ca` was run; off: none is, calls in them
    escape all budgets; a list of further hosts, or a mapping."""
    translation: Literal["lenient", "strict", "off"] = "lenient"
    """Where caller and provider speak different formats: lenient: translate, tell what was lost in
    x-muxproxy-dropped. strict: 400 where something would be lost. off: never translate."""
    cache: CacheBounds = CacheBounds()
    """Where rules with `cache:` keep answers."""
    drain_timeout: Duration = "30s"
    """How long running exchanges may take to end at shutdown."""
    durability: Literal["strict", "relaxed", "power"] = "strict"
    """strict: a hold is safe against kill -9 before its request is forwarded."""
    on_ledger_failure: Literal["refuse", "pass"] = "refuse"
    retention: Duration | None = None
    """How long calls are kept; null: for ever."""
    unknown_price: Literal["deny", "allow"] | dict[str, str | int | float] = "deny"
    """deny, allow, or {input: $3, output: $15} per million tokens."""
    baseline: str | None = None
    """provider/model: reports say what the same tokens would have cost there."""
    prices: dict[str, dict[str, Any]] = {}
    """provider/model glob -> {input, output, cache_read, ...} in dollars per million tokens."""
    providers: dict[str, Provider] = {}
    models: dict[str, str | list[str] | Strategy] = {}
    """The names callers may use; a list is an order of fall-back."""
    routing: Routing = Routing()
    rules: list[Rule] = []
    budgets: list[Budget] = []
    limits: list[Limit] = []
    runaway: RunawayGuard | None = None
    """Stops agents in a loop; null: nobody is watched."""
    defaults: Defaults = Defaults()
    log: Log = Log()
    watch: bool = True
    """Take the file's edits at once; false: only on SIGHUP or POST /v1/config/reload."""
