"""The values that flow through one exchange: Caller, Ask, Plan, Usage, Receipt.

Plain data, no I/O. Every stage is a function from these to these; only `budget`, `ledger`,
`upstream` and the doors own resources.
"""

from __future__ import annotations

import msgspec

# Dialects as the YAML names them; an Ask's dialect is the wire format the caller speaks.
OPENAI = "openai"
RESPONSES = "responses"
ANTHROPIC = "anthropic"
GEMINI = "gemini"
DIALECTS = (OPENAI, RESPONSES, ANTHROPIC, GEMINI)

# Endpoints: what is asked for within a dialect.
CHAT = "chat"  # /chat/completions
COMPLETIONS = "completions"  # legacy /completions
EMBEDDINGS = "embeddings"  # /embeddings, gemini :embedContent and :batchEmbedContents
RESPOND = "responses"  # /responses
MESSAGES = "messages"  # anthropic /messages
COUNT_TOKENS = "count_tokens"  # anthropic /messages/count_tokens, gemini :countTokens
GENERATE = "generate"  # gemini :generateContent and :streamGenerateContent
MODELS = "models"  # a provider's model list; free
REALTIME = "realtime"  # a WebSocket: a session of many responses
OTHER = "other"  # any path we do not know: passed through unread
GENERATING = frozenset({CHAT, COMPLETIONS, RESPOND, MESSAGES, GENERATE})
INSPECTED = GENERATING | {EMBEDDINGS, COUNT_TOKENS}
FREE = frozenset({COUNT_TOKENS, MODELS})  # metered, cost nothing, hold nothing


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `key` is what `per: key` counts under and is never a secret."""

    key: str = "anonymous"
    user: str | None = None
    team: str | None = None
    tags: tuple[str, ...] = ()
    run: str | None = None
    models: tuple[str, ...] | None = None  # globs this key may use; None: all
    ours: bool = False  # the credential was a muxproxy key: it never goes upstream


class Ask(msgspec.Struct, kw_only=True):
    """What the caller wants, as inspected. Numbers are counts; sizes are bytes or characters.

    `text` is the beginning (64 KiB) of the last user-authored text (tool results excluded);
    `prompt_chars` counts all of it. The whole conversation is decoded only when asked for, by
    inspection.all_text(). Drop `parts` once no rule will ask: it keeps the body alive.
    """

    dialect: str
    endpoint: str
    path: str  # as the caller sent it, without query, without /p/NAME
    model: str | None = None  # as the caller named it; None when absent or null
    model_present: bool = False  # the body has a "model" member (or the path names one)
    stream: bool = False
    tools: bool = False
    images: bool = False
    json: bool = False  # JSON mode or JSON schema asked for
    messages: int = 0
    prompt_chars: int = 0  # characters of `text`
    prompt_tokens: int = 0  # estimate over everything, from bytes (base64 media excluded)
    body_bytes: int = 0
    media: int = 0  # images and files in the prompt
    media_bytes: int = 0  # base64 bytes of inline media, part of body_bytes
    service_tier: str | None = None  # service tier asked for; None: not asked
    max_tokens: int | None = None
    max_tokens_field: str | None = None  # the (dotted) member max_tokens came in; None: not sent
    n: int = 1
    user: str | None = None  # body's `user` / `metadata.user_id`
    include_usage: bool | None = None  # stream_options.include_usage as sent; None: not sent
    stream_options: bool = False  # the body has a non-null stream_options member
    max_budget: object = None  # our own member, as sent (dollars); None: not sent
    cascade_config: object = None  # our own member of the enhanced endpoint, as sent, then checked
    text: str = ""
    parts: object = None  # the body, undecoded, for inspection.all_text()


class Target(msgspec.Struct, frozen=True):
    """One candidate: a provider by name and the model as that provider names it.

    `model` None means: leave the body's model as it is (also when it has none).
    """

    provider: str
    model: str | None = None


class Learning(msgspec.Struct, frozen=True):
    """What the calls of a cheap/strong alias are kept for, where it learns from them."""

    alias: str
    cheap: tuple[Target, ...]
    strong: tuple[Target, ...]
    text: bool  # keep the prompt too
    explore: float  # share of cheap-routed calls that are judged, 0..1


# What makes a choice stick to its conversation (Plan.sticks).
BY_STRATEGY = 1
BY_TEXT = 2


class Plan(msgspec.Struct, kw_only=True):
    """What the rules decided. `reason` is one line a person can read."""

    candidates: tuple[Target, ...] = ()
    rule: str | None = None
    reason: str = ""
    strategy: str | None = None
    score: float | None = None  # how much the strategy thinks the strong model is needed
    judged: int = 0  # the first candidates' answers are judged before one goes out
    spec: object = None  # config.strategies.Strategy of the alias that chose
    balance: tuple[str, str] | None = None  # a wish: (alias, how its members are balanced)
    learning: Learning | None = None
    explored: bool = False  # `judged` only to learn from it
    weighed: bool = False  # where the call is sent on, the strong answer is rated as well
    sticks: int = 0  # BY_STRATEGY or BY_TEXT: its conversation stays where this one goes
    alias: str | None = None  # the alias that supplied the model
    chosen: bool = False  # the model was supplied by an alias, a rule or a default
    set: dict[str, object] = {}
    tags: tuple[str, ...] = ()
    deny: str | None = None  # refusal text, 403
    rules: tuple[str, ...] = ()  # every rule that took effect, in order
    shadow: tuple[str, ...] = ()  # shadow rules that would have matched


class Usage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Tokens by kind, normalised so that no token is counted twice.

    `input` excludes cache reads and writes; `output` excludes reasoning. Audio tokens are the
    part of input/output (not in addition to them) that was audio. -1 never occurs; None means
    the provider did not say, and counts as 0 in sums.
    """

    input: int = 0
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int = 0
    reasoning: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None
    images: int | None = None  # image tokens, part of input
    images_out: int | None = None  # image tokens, part of output (image-generating chat models)
    cache_read_audio: int | None = None  # cached audio tokens, part of audio_in and cache_read
    requests: int | None = None  # billable server-tool calls (web search ...)
    tier: str | None = None  # service tier the provider reported
    reported_cost: int | None = None  # nano-dollars the provider itself reported
    billed_input: int | None = None  # tokens charged, where fewer than the model saw (Cohere)
    billed_output: int | None = None
    # The provider's own totals, where its parts contradict them: Azure's Grok reports more cached
    # tokens than prompt tokens, Vercel's Gemini more reasoning than completion tokens. The kinds
    # above are what is billed; the totals below stay what the provider said.
    stated_input: int | None = None
    stated_output: int | None = None

    @property
    def input_total(self) -> int:
        """All prompt tokens, cached ones included."""
        if self.stated_input is not None:
            return self.stated_input
        return (
            self.input
            + (self.cache_read or 0)
            + (self.cache_write_5m or 0)
            + (self.cache_write_1h or 0)
        )

    def tokens(self) -> int:
        """All tokens. One call where two properties would be four: it is asked twice a request."""
        if self.stated_input is not None or self.stated_output is not None:
            return self.input_total + self.output_total
        return (
            self.input
            + (self.cache_read or 0)
            + (self.cache_write_5m or 0)
            + (self.cache_write_1h or 0)
            + self.output
            + (self.reasoning or 0)
        )

    @property
    def output_total(self) -> int:
        """All generated tokens, reasoning included."""
        if self.stated_output is not None:
            return self.stated_output
        return self.output + (self.reasoning or 0)


# How an exchange ended (Receipt.end).
FINISHED = "finished"
CLIENT_LEFT = "client_left"
UPSTREAM_DIED = "upstream_died"
REFUSED = "refused"
ERROR = "error"
DRAINED = "drained"

# Where the usage figures come from (Receipt.usage_source).
PROVIDER = "provider"
COUNTED = "counted"
ESTIMATED = "estimated"


class Hold(msgspec.Struct, kw_only=True, array_like=True):
    """Money and tokens reserved for one attempt. Nano-dollars; None: price unknown or free.

    The ledger stores it as a JSON array in the order of its fields: new ones go to the end.
    """

    id: int
    time_ms: int
    caller: str = ""
    provider: str = ""
    model: str = ""
    nano: int | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    scopes: tuple[str, ...] = ()  # budget counters this hold stands in, "name|scope|window"
    user: str | None = None
    team: str | None = None
    tags: tuple[str, ...] = ()
    run: str | None = None
    rule: str | None = None


class Spend(msgspec.Struct, frozen=True):
    """What one settled call adds to one budget counter.

    The books keep sums per (budget, scope, window). `window` is the window's start in Unix
    seconds; 0 for prepaid; -1 marks a top-up, which raises the limit and is no spending.
    """

    budget: str
    scope: str
    window: int
    nano: int
    tokens: int


class Receipt(msgspec.Struct, kw_only=True):
    """What was settled for one call; one row of the ledger."""

    id: int
    time_ms: int  # Unix milliseconds at which the request's head was complete
    caller: str = ""
    user: str | None = None
    team: str | None = None
    tags: tuple[str, ...] = ()
    run: str | None = None
    rule: str | None = None
    reason: str = ""
    provider: str | None = None
    model: str | None = None  # as sent upstream
    asked_model: str | None = None
    dialect: str | None = None
    endpoint: str | None = None
    path: str = ""
    stream: bool = False
    status: int = 0  # as the caller saw it; 499 when it left before a head was written
    end: str = FINISHED
    code: str | None = None  # our error code, when we refused or failed
    attempts: int = 0
    usage: Usage | None = None
    usage_source: str | None = None
    usage_raw: bytes | None = None  # the provider's own usage JSON, for re-costing
    cost: int | None = None  # nano-dollars; None: price unknown
    held: int | None = None  # nano-dollars
    price_version: str | None = None
    overrun: int = 0  # nano-dollars beyond the hold
    edits: tuple[str, ...] = ()  # permitted edits made, e.g. "model", "stream_options"
    features: bytes | None = None  # the Ask's numbers as JSON, for replay; never its text
    overhead_us: int = 0
    ttfb_us: int | None = None
    total_us: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    explored: bool = False  # a cheap-routed call whose answer was judged all the same
    feedback: float | None = None  # 0..1, of POST /v1/feedback; filled in by readers of the books
