"""A call whose caller and provider speak different dialects, on its way up.

The caller's body, with the rules' fields already in it, is read into the neutral form and written
anew for the provider; path, query and headers follow. What gets lost is named, or refused under
`translation: strict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from muxproxy import exchange as words
from muxproxy.dialects import quirks
from muxproxy.dialects.embeddings import EmbeddingTranslator
from muxproxy.dialects.neutral import Request
from muxproxy.dialects.paths import Route, classify, upstream_path
from muxproxy.dialects.translators import ENDPOINTS, TRANSLATABLE, Translator, translator
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask
from muxproxy.headers import CREDENTIALS, Headers
from muxproxy.proxy.forward import credential_for, upstream_headers
from muxproxy.proxy.snapshot import Service, served_by

if TYPE_CHECKING:
    from muxproxy.proxy.road import Exchange

# Headers that only the caller's own dialect knows.
_CALLERS_OWN = frozenset(
    b"content-type anthropic-version anthropic-beta openai-beta openai-organization "
    b"openai-project x-goog-api-client anthropic-dangerous-direct-browser-access".split()
)
# The version that still takes sampling parameters (FORMATS: 2026-10-21 refuses them).
_ANTHROPIC_VERSION = (b"anthropic-version", b"2023-06-01")
_JSON = (b"content-type", b"application/json")

_EMBEDS = frozenset({words.OPENAI, words.GEMINI})

_encode = msgspec.json.encode


class Crossing(msgspec.Struct, gc=False):
    """What the way back has to know of a translated attempt."""

    caller: Translator
    provider: Translator
    request: Request

    @property
    def dropped(self) -> list[str]:
        """What could not be carried, in the caller's words."""
        return self.request.dropped

    @property
    def endpoint(self) -> str:
        """The provider's endpoint."""
        if isinstance(self.provider, EmbeddingTranslator):
            return words.EMBEDDINGS
        return ENDPOINTS[self.provider.dialect]


def spoken(service: Service, ask: Ask, mode: str) -> str | None:
    """The dialect in which `service` can answer `ask`; the Ask's own means: as it is.

    None: not at all. `mode` is the YAML's `translation`, the same for a service's whole life.
    """
    key = (ask.dialect, ask.endpoint)
    try:
        return service.speaks[key]
    except KeyError:
        pass
    if service.dialect in served_by(ask) and (
        ask.dialect != words.RESPONSES or service.dialect == words.RESPONSES or service.responses
    ):
        found: str | None = ask.dialect
    elif mode == "off":
        found = None
    elif ask.endpoint == words.EMBEDDINGS:
        found = service.dialect if service.dialect in _EMBEDS else None
    elif ask.endpoint not in TRANSLATABLE:
        found = None
    else:
        found = service.dialect
    service.speaks[key] = found
    return found


def cross(
    exchange: Exchange, service: Service, dialect: str, body: bytes, model: str | None
) -> tuple[Crossing, bytes]:
    """The body for a provider that speaks `dialect`, and what the answer needs. Raises MuxError."""
    ask = exchange.ask
    assert ask is not None
    if ask.path.endswith("/compact"):
        raise MuxError(
            "unsupported_translation",
            f"only OpenAI can compact its own conversations, and {service.name} speaks {dialect}",
        )
    if model is None:
        raise MuxError(
            "unsupported_translation",
            f"no model is named, and {service.name} speaks {dialect}: name a model, or route the "
            "call with a rule or an alias",
        )
    if ask.endpoint == words.EMBEDDINGS:
        caller: Translator = EmbeddingTranslator(ask.dialect)
        provider: Translator = EmbeddingTranslator(dialect)
    else:
        caller, provider = translator(ask.dialect), translator(dialect)
    request = caller.read_request(body, model, ask.stream)
    request.model = model
    ways = {}
    if dialect == words.OPENAI:
        ways["quirks"] = quirks.find(service.host, service.port, model)
    written = provider.write_request(request, **ways)
    if ask.stream and dialect == words.OPENAI and service.injects_usage:
        written["stream_options"] = {"include_usage": True}
    if request.dropped and exchange.snapshot.config.translation == "strict":
        names = ", ".join(request.dropped)
        raise MuxError(
            "unsupported_translation",
            f"{names}: {service.name} speaks {dialect}, which has no such field (leave it out, or "
            "set translation: lenient)",
            details={"fields": list(request.dropped)},
        )
    return Crossing(caller, provider, request), _encode(written)


def crossed_target(service: Service, crossing: Crossing, model: str, *, stream: bool) -> bytes:
    """Path and query at the provider."""
    dialect, endpoint = crossing.provider.dialect, crossing.endpoint
    route = _route(dialect, endpoint, stream)
    path = upstream_path(service.base_path, route, model=model, dialect=dialect)
    query = "?alt=sse" if stream and dialect == words.GEMINI else ""
    return (path + query).encode()


def _route(dialect: str, endpoint: str, stream: bool) -> Route:
    if dialect == words.GEMINI:
        action = "streamGenerateContent" if stream else "generateContent"
        if endpoint == words.EMBEDDINGS:
            action = "batchEmbedContents"
        # Any name will do here: upstream_path puts in the model, properly quoted.
        return classify("POST", f"/v1beta/models/m:{action}")
    if endpoint == words.EMBEDDINGS:
        return classify("POST", "/v1/embeddings")
    return classify("POST", _PATHS[dialect])


_PATHS = {
    words.OPENAI: "/v1/chat/completions",
    words.RESPONSES: "/v1/responses",
    words.ANTHROPIC: "/v1/messages",
}


def crossed_headers(exchange: Exchange, service: Service, dialect: str) -> Headers:
    """The caller's headers without those of its dialect, the provider's own instead."""
    fields = exchange.fields
    drop = service.drop | _CALLERS_OWN | CREDENTIALS
    added: Headers = [_JSON, *service.added]
    if dialect == words.ANTHROPIC and not any(n == b"anthropic-version" for n, _ in added):
        added.append(_ANTHROPIC_VERSION)
    key = service.config.api_key or _callers_key(exchange, service)
    if key:
        added.append(credential_for(dialect, key, {}, service.host))
    return upstream_headers(exchange.scope["headers"], fields, drop, added, identity=True)


def _callers_key(exchange: Exchange, service: Service) -> str | None:
    """The caller's own key, where the caller itself named the provider; else it stays here."""
    ask = exchange.ask
    assert ask is not None
    name = service.name
    named = name in (exchange.route.provider, exchange.provider) or (
        ask.model is not None and ask.model.startswith(name + "/")
    )
    if exchange.caller.ours or not named:
        return None
    for header in (b"x-api-key", b"x-goog-api-key", b"api-key"):
        value: bytes | None = exchange.fields.get(header)
        if value is not None:
            return value.decode("latin-1")
    scheme, _, token = exchange.fields.get(b"authorization", b"").partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else None
