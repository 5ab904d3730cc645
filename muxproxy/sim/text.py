"""Invents the answer: words, tool calls and usage numbers, all from a hash, so always the same."""

import hashlib
import re
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from muxproxy.sim.ask import Ask, Tool
from muxproxy.sim.script import Options, ScriptError

# Some are of several bytes in UTF-8, so that any cut through the bytes meets one sooner or later.
_WORDS: list[str] = re.findall(
    r"\S+",
    "a river of small numbers runs under the old bridge and nobody counts them twice "
    "when morning comes light falls on quiet roofs where birds keep their own books "
    "each answer is made of plain words with no more meaning than this line gives it "
    "naïve café Zürich 日本 🙂 façade прибой data stream token paper glass stone winter",
)
_WORD = re.compile(r"\s*\S+|\s+$")
DEFAULT_TOKENS = 24
# Every word is an event held in memory before it is sent.
_MOST_TOKENS = 200_000
EPOCH = 1_760_000_000  # replies carry a fixed time: the same request gets the same bytes
_ARGUMENT_PIECE = 5


@dataclass(slots=True)
class Call:
    """A tool call; `pieces` are the fragments in which a stream delivers the arguments."""

    id: str
    name: str
    arguments: str
    pieces: list[str]


@dataclass(slots=True)
class Counts:
    """Tokens. `input` is all of the prompt, cached and cache-written ones included; `output` is
    everything generated, `reasoning` included."""

    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int


@dataclass(slots=True)
class Turn:
    """One answer before any dialect: `pieces` of choice 0, `more` of the other choices."""

    model: str
    seed: str
    pieces: list[str]
    more: list[list[str]]
    thinking: list[str]
    calls: list[Call]
    finish: str  # stop | length | tool
    usage: Counts | None  # None: the provider reports nothing
    created: int = EPOCH

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def choices(self) -> list[list[str]]:
        return [self.pieces, *self.more]


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def words(seed: str, count: int) -> list[str]:
    """`count` words, the first without, the others with a blank in front: one word, one token."""
    random = Random(seed)
    found = [" " + _WORDS[random.randrange(len(_WORDS))] for _ in range(count)]
    if found:
        found[0] = found[0].strip().capitalize()
    return found


def split_text(text: str) -> list[str]:
    """Literal text cut before each word; joined again it is the same text."""
    pieces = _WORD.findall(text)
    return pieces if "".join(pieces) == text else [text]


def _argument(schema: Any, word: str) -> Any:
    kind = str(schema.get("type", "string")).lower() if isinstance(schema, dict) else "string"
    if isinstance(schema, dict) and schema.get("enum"):
        return schema["enum"][0]
    table: dict[str, Any] = {
        "integer": 7,
        "number": 2.5,
        "boolean": True,
        "array": [],
        "null": None,
    }
    if kind == "object":
        return _arguments(schema, word)
    return table.get(kind, word)


def _arguments(schema: dict[str, Any], word: str) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        return {}
    return {name: _argument(part, word) for name, part in properties.items()}


def _call(seed: str, index: int, tool: Tool) -> Call:
    unique = digest(seed, "call", str(index))
    arguments = _arguments(tool.schema, words(unique, 1)[0])
    text = orjson.dumps(arguments).decode()
    step = _ARGUMENT_PIECE
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    return Call(unique[:24], tool.name, text, pieces)


_WEATHER = Tool(
    "get_weather",
    {"properties": {"location": {"type": "string"}, "days": {"type": "integer"}}},
)


def compose(ask: Ask, options: Options, seed: str) -> Turn:
    """The answer to `ask` under `options`."""
    unique = digest(seed, ask.dialect, ask.endpoint, ask.model, ask.last_user)
    wanted_calls = options.tools or (1 if ask.must_call else 0)
    tools = ask.tools or [_WEATHER]
    calls = [_call(unique, i, tools[i % len(tools)]) for i in range(wanted_calls)]
    limit = ask.max_tokens
    finish = "tool" if calls else "stop"
    if options.text is not None:
        pieces = split_text(options.text)
    elif calls:
        pieces = words(unique, min(options.tokens or 0, _MOST_TOKENS + 1))
    else:
        count = DEFAULT_TOKENS if options.tokens is None else options.tokens
        if options.tokens is None and limit is not None:
            count = min(count, limit)
        pieces = words(unique, min(count, _MOST_TOKENS + 1))
        if limit is not None and count >= limit:
            finish = "length"
    if len(pieces) * ask.n > _MOST_TOKENS or options.thinking > _MOST_TOKENS:
        raise ScriptError(f"more than {_MOST_TOKENS} tokens")
    more = [words(digest(unique, str(i)), len(pieces)) for i in range(1, ask.n)]
    thinking = words(digest(unique, "thinking"), options.thinking)
    turn = Turn(ask.model, unique, pieces, more, thinking, calls, finish, None)
    turn.usage = _usage(ask, options, turn)
    return turn


def _usage(ask: Ask, options: Options, turn: Turn) -> Counts | None:
    if options.usage == "off":
        return None
    if options.usage == "zero":
        return Counts(0, 0, 0, 0, 0)
    answer = len(turn.pieces)
    if options.text is not None and options.tokens is not None:
        answer = options.tokens  # literal text, and what it is said to have cost
    answer += sum(map(len, turn.more))
    answer += sum(4 + len(call.pieces) for call in turn.calls)
    whole = options.input if options.input is not None else ask.input_tokens
    whole = max(whole, options.cached + options.cache_write)
    return Counts(
        input=whole,
        cached=options.cached,
        cache_write=options.cache_write,
        output=answer + len(turn.thinking),
        reasoning=len(turn.thinking),
    )
