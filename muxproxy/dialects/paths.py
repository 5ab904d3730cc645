"""What a request's path means: dialect, endpoint, model, provider; and the path it gets upstream.

A provider must never be given a generating request that inspection took for something else, so a
path is judged by its *canonical* form: percent-decoding until nothing changes, backslashes as
slashes, empty and dot segments resolved, `;parameters`, encoded queries and fragments and trailing
slashes taken off, letters compared in any case. What then matches a known endpoint is that
endpoint and goes upstream in its canonical spelling, never in the caller's odd one. What matches
none is OTHER and goes up as the caller wrote it, except that dot segments and control characters
are refused (400).

Known endpoints are called with POST; other methods on them (GET lists or retrieves stored answers)
are OTHER. Model lists are MODELS with GET and HEAD.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

import msgspec

from muxproxy import exchange as words
from muxproxy.errors import MuxError


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A request's path, understood. `path` has no query and no /p/NAME.

    `dialect` is the wire format the caller speaks (`exchange.DIALECTS`). `model` is the path's
    (gemini; azure's deployment). `tail` is the endpoint's own canonical path below a base
    ("chat/completions"; empty for OTHER and gemini) and `prefix` what the caller had before it.
    `before` and `after` surround the model in `path`.
    """

    dialect: str
    endpoint: str
    path: str
    model: str | None = None
    stream: bool = False
    provider: str | None = None
    tail: str = ""
    prefix: str = ""
    enhanced: bool = False  # came in on chat/completions/enhanced
    before: str = ""
    after: str = ""


# Endpoints by the end of their path. Longest first: the first match counts.
_TAILS = (
    ("chat/completions", words.OPENAI, words.CHAT),
    ("responses/input_tokens", words.RESPONSES, words.COUNT_TOKENS),
    ("responses/compact", words.RESPONSES, words.RESPOND),
    ("messages/count_tokens", words.ANTHROPIC, words.COUNT_TOKENS),
    ("completions", words.OPENAI, words.COMPLETIONS),
    ("embeddings", words.OPENAI, words.EMBEDDINGS),
    ("responses", words.RESPONSES, words.RESPOND),
    ("messages", words.ANTHROPIC, words.MESSAGES),
)
_ENHANCED = "chat/completions/enhanced"

# What callers put before an openai endpoint that means no more than "the API":
# base URLs with and without /v1, and the groq SDK's own prefix.
_ALIASES = ("/v1", "/openai/v1", "")

_OPENAI = (words.OPENAI, words.RESPONSES)  # one family of bases

# Gemini's actions: lower case -> spelling, endpoint, stream.
_ACTIONS = {
    "generatecontent": ("generateContent", words.GENERATE, False),
    "streamgeneratecontent": ("streamGenerateContent", words.GENERATE, True),
    "counttokens": ("countTokens", words.COUNT_TOKENS, False),
    "embedcontent": ("embedContent", words.EMBEDDINGS, False),
    "batchembedcontents": ("batchEmbedContents", words.EMBEDDINGS, False),
}

_CLEAN = re.compile(r"(?:/[A-Za-z0-9_:@.~-]*[A-Za-z0-9_:@~-])+")
_REFUSED = re.compile(r"[\x00-\x1f\x7f]")
_VERSION = re.compile(r"v\d+[a-z]*\d*")
_GEMINI_BASE = re.compile(r"/(?:upload/)?v1(?:alpha|beta)\d*(?:/|$)|/v1/(?:projects|tunedmodels)/")
_ANTHROPIC_BASE = re.compile(r"/(?:anthropic/)?(?:v1/)?messages/|/anthropic/|/v1/complete$")
_RESPONSES_BASE = re.compile(r"/(?:openai/)?(?:v1/)?responses(?:/|$)")
_DEPLOYMENT = re.compile(r"(.*/deployments/)([^/]+)$", re.IGNORECASE)
_RESOURCE = re.compile(r"/(?:models/|(?=(?:tunedModels|endpoints)/))", re.IGNORECASE)

_READS = frozenset({"GET", "HEAD"})
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})


@lru_cache(maxsize=1024)
def classify(method: str, path: str) -> Route:
    """`path` as sent (percent-encoding intact, no query) -> Route.

    Raises MuxError: `invalid_request` for a path that must not be passed unread, `not_found` for
    /p/ without a provider's name.
    """
    clean = _CLEAN.fullmatch(path) is not None
    canonical, dotted = (path, False) if clean else _canonical(path)
    provider = None
    if canonical == "/p" or canonical.startswith("/p/"):
        _, _, rest = canonical[1:].partition("/")
        provider, _, rest = rest.partition("/")
        if not provider:
            raise MuxError("not_found", "/p/ wants a provider's name: /p/NAME/v1/chat/completions")
        canonical = "/" + rest
        # The rest as sent, where the name stands where it should; else only as understood.
        sent = path.split("/", 3)
        plain = sent[:2] == ["", "p"] and unquote(sent[2]) == provider
        path = "/" + (sent[3] if len(sent) > 3 else "") if plain else quote(canonical)
        clean = clean or _CLEAN.fullmatch(path) is not None
    route = _known(method, canonical, provider) or _models(method, canonical, provider)
    if route is not None:
        return route
    if dotted:
        raise MuxError("invalid_request", "the path has dot segments: send it without . and ..")
    low = canonical.lower()
    if _GEMINI_BASE.match(low) or (low.startswith("/v1/models/") and ":" in low):
        dialect = words.GEMINI
    elif _ANTHROPIC_BASE.match(low):
        dialect = words.ANTHROPIC
    else:
        dialect = words.RESPONSES if _RESPONSES_BASE.match(low) else words.OPENAI
    return Route(dialect=dialect, endpoint=words.OTHER, path=path, provider=provider)


def upstream_path(
    base_path: str, route: Route, *, model: str | None = None, dialect: str | None = None
) -> str:
    """The path to send to a provider whose base_url has the path `base_path`.

    `dialect` is the provider's (default: the route's own). `model` replaces the one in the path.

    An openai base carries the version ("/v1", "/openai/v1", ""): the caller's own leading /v1 or
    /openai/v1 is taken off and the rest appended. Anthropic and gemini bases are origins: the
    caller's version stays, and one that the base repeats is not doubled. A path that begins with
    the base already is left as it is, as are azure's deployments. With /p/NAME an OTHER path, and
    an endpoint below a prefix that is none of ours, go verbatim on the origin.
    """
    base = base_path.rstrip("/")
    path = route.path if model is None else path_with_model(route, model)
    if base and (path.startswith(base + "/") or path == base):
        return path
    deployment = route.tail != "" and route.before != ""
    if route.provider is not None and (deployment or _is_alien(route)):
        return path
    if deployment and base in ("", "/openai", "/openai/v1"):
        return path
    if route.dialect in _OPENAI:
        if dialect is not None and dialect not in _OPENAI:
            return _join(base, path)
        # A provider that is no azure has no deployments.
        return f"{base}/{route.tail}" if deployment else base + _without_alias(path)
    if route.dialect == words.ANTHROPIC and route.tail:
        path = f"/v1/{route.tail}"
    elif path.startswith(("/models/", "/tunedModels/")) and not _ends_in_version(base):
        path = "/v1beta" + path
    return _join(base, path)


def path_with_model(route: Route, model: str) -> str:
    """`route.path` with its model (or azure deployment) replaced; unchanged where it has none."""
    if not route.before:
        return route.path
    name = model.removeprefix("models/")
    before = route.before
    if name.startswith("tunedModels/") and before.endswith("/models/"):
        before = before.removesuffix("models/")
    return before + quote(name, safe="/:@" if route.dialect == words.GEMINI else "") + route.after


# -- known paths -----------------------------------------------------------------------------


def _known(method: str, canonical: str, provider: str | None) -> Route | None:
    """The route of a known endpoint, spelled canonically, or None."""
    if method in _BODILESS:
        return None
    found = _gemini(canonical, provider)
    if found is not None:
        return found
    low = canonical.lower()
    enhanced = low.endswith("/" + _ENHANCED)
    if enhanced:
        canonical, low = canonical[: -len("/enhanced")], low[: -len("/enhanced")]
    for tail, dialect, endpoint in _TAILS:
        if not low.endswith("/" + tail):
            continue
        prefix = canonical[: -len(tail) - 1]
        lowered = prefix.lower()
        if lowered in _ALIASES:
            prefix = lowered
        if dialect == words.ANTHROPIC and not _is_messages_base(lowered):
            continue
        path = f"{quote(prefix, safe='/:@')}/{tail}"
        deployment = _DEPLOYMENT.fullmatch(prefix)
        before = quote(deployment[1], safe="/:@") if deployment else ""
        return Route(
            dialect=dialect,
            endpoint=endpoint,
            path=path,
            model=deployment[2] if deployment else None,
            provider=provider,
            tail=tail,
            prefix=prefix,
            enhanced=enhanced,
            before=before,
            after=f"/{tail}" if deployment else "",
        )
    return None


def _is_messages_base(prefix: str) -> bool:
    """Whether `<prefix>/messages` is Anthropic's: OpenAI's threads end in /messages as well."""
    return prefix in ("", "/v1", "/anthropic") or (
        prefix.endswith("/v1") and not prefix.endswith("/threads/v1")
    )


def _gemini(canonical: str, provider: str | None) -> Route | None:
    start, colon, action = canonical.rpartition(":")
    known = _ACTIONS.get(action.lower()) if colon else None
    if known is None:
        return None
    spelling, endpoint, stream = known
    resource = _RESOURCE.search(start)
    cut = resource.end() if resource is not None else start.rfind("/") + 1
    before, model = quote(start[:cut], safe="/:@"), start[cut:]
    if not model:
        return None
    after = ":" + spelling
    return Route(
        dialect=words.GEMINI,
        endpoint=endpoint,
        path=before + quote(model, safe="/:@") + after,
        model=model,
        stream=stream,
        provider=provider,
        before=before,
        after=after,
    )


def _models(method: str, canonical: str, provider: str | None) -> Route | None:
    """Model lists and single models: GET /v1/models, /v1beta/models/M."""
    if method not in _READS:
        return None
    head, found, name = canonical.partition("/models")
    if not found or (name and not name.startswith("/")):
        return None
    low = head.lower()
    if low in _ALIASES:
        dialect = words.OPENAI
    elif _GEMINI_BASE.fullmatch(low):
        dialect = words.GEMINI
    else:
        return None
    return Route(
        dialect=dialect,
        endpoint=words.MODELS,
        path=quote(canonical, safe="/:@"),
        model=name[1:] or None,
        provider=provider,
    )


# -- spelling --------------------------------------------------------------------------------


def _canonical(path: str) -> tuple[str, bool]:
    """The path as the most obliging server would read it, and whether it had dot segments."""
    if not path.startswith("/"):
        raise MuxError("invalid_request", "the path must begin with /")
    decoded = path
    for _ in range(4):
        previous, decoded = decoded, unquote(decoded)
        if decoded == previous:
            break
    if _REFUSED.search(decoded) or ("%" in decoded and unquote(decoded) != decoded):
        raise MuxError("invalid_request", "the path has control characters or nested encodings")
    decoded = re.split(r"[?#]", decoded, maxsplit=1)[0].replace("\\", "/")
    kept: list[str] = []
    dotted = False
    for part in decoded.split("/"):
        segment = part.partition(";")[0].strip()
        if segment in (".", ".."):
            dotted = True
            if segment == ".." and kept:
                kept.pop()
        elif segment:
            kept.append(segment)
    return "/" + "/".join(kept), dotted


def _without_alias(path: str) -> str:
    for alias in _ALIASES:
        if alias and (path == alias or path.startswith(alias + "/")):
            return path[len(alias) :]
    return path


def _is_alien(route: Route) -> bool:
    """Whether the path below /p/NAME is one of the provider's own, not one of our spellings."""
    if route.dialect == words.ANTHROPIC and route.tail:
        return route.prefix not in ("", "/v1")
    return route.endpoint == words.OTHER or (route.tail != "" and route.prefix not in _ALIASES)


def _ends_in_version(base: str) -> bool:
    return _VERSION.fullmatch(base.rpartition("/")[2]) is not None


def _join(base: str, path: str) -> str:
    """`base` and `path`, with a version that ends the base and begins the path only once."""
    if _ends_in_version(base) and _VERSION.fullmatch(path[1:].partition("/")[0]):
        base = base[: base.rindex("/")]
    return base + path
