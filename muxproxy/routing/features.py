"""A prompt as numbers: hashed words and word pairs, what its shape tells, and what its words mean.
Pure and bounded.

`read` is the one place where text becomes features, for training and for serving: weights made
with another `VERSION` of it must not be used. Everything looks at a bounded part of the text
(its ends), cut at memory speed.

Each feature is an index into the weights. Shape counts are thermometer coded (every step up to
the value is on), so a linear model can bend along them. Every feature exists twice: once for all
texts and once for texts of the same form (multiple choice, code, formulas, word problem, short
question, open): the same word means another thing in an exam than in a chat.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from zlib import crc32

from muxproxy.routing import meanings

VERSION = 2
# Characters looked at: the beginning holds the task, the end holds the question.
HEAD = 3000
TAIL = 1000

CHOICES, MANY_CHOICES, CODE, FORMULAS, WORD_PROBLEM, SHORT, OPEN = range(7)
FORMS = ("choices", "many choices", "code", "formulas", "word problem", "short question", "open")

# Letters lower case, every digit "0": "1999" and "2024" are the word "0000".
_CUT = bytes(
    ord(chr(b).lower()) if b < 128 and chr(b).isalpha() else 48 if 48 <= b <= 57 else b
    if b >= 128 else 39 if b == 39 else 32
    for b in range(256)
)  # fmt: skip
# What is between the words: operators, brackets, TeX.
_MARKS = bytes(
    32 if b < 33 or b >= 128 or chr(b).isalnum() or chr(b) in ".,'" else b for b in range(256)
)
_OPTION = re.compile(r"(?m)^[ \t]*\(?([A-J])[.):][ \t]*(?=\S)")
# Each way begins with a letter that must be there, and only then looks back whether a word begins
# with it: so the search passes over the other letters at once.
_CODE = re.compile(
    r"```|\[PYTHON\]|d(?<=\bd)ef \w+\(|c(?<=\bc)lass \w+[:({]|#include|"
    r"S(?<=\bS)ELECT\b.{1,80}\bFROM\b|f(?<=\bf)unction\s*\w{0,40}\(|p(?<=\bp)ublic \w+ \w+|"
    r"i(?<=\bi)mport \w+|</\w+>|r(?<=\br)eturn \w+;|;\s*\n"
)
# Without one of these there is no match, and looking for them is many times faster.
_CODE_NEEDS = (
    "```", "[PYTHON]", "def ", "class ", "#include", "SELECT", "function", "public ", "import ",
    "</", "return ",
)  # fmt: skip
_NUMBER = re.compile(r"\d+(?:[.,/:]\d+)*")
_ASKED = re.compile(
    r"\bhow (?:many|much|long|old|far|tall|fast|often)\b|\bwhat is\b|\bfind\b", re.I
)
_SENTENCE = re.compile(r"[.!?](?:\s|$)")
_LIST = re.compile(r"(?m)^\s*(?:[-*•]|\d{1,2}[.)])\s")


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_CONSTRAINT = _words(
    "must should only without exactly avoid ensure format json table words don't maximum minimum"
)
_NEGATION = _words("not except least never false incorrect cannot unless")
_HARD = _words(
    "prove derive explain why analyze analyse compare evaluate design implement optimize optimise "
    "compute calculate determine solve"
)
_RELATION = _words(
    "twice half third quarter times each every per remaining rest total altogether more less "
    "percent if then average ratio"
)

# Each word with the sets it is in, a bit for each.
_SETS = (_CONSTRAINT, _NEGATION, _HARD, _RELATION)
_IN = {
    word: sum((word in words) << bit for bit, words in enumerate(_SETS))
    for word in frozenset().union(*_SETS)
}

_LOG = tuple(int(16 * 1.5**i) for i in range(14))  # 16 .. 3113
_FEW = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 45)
_SHARE = (1, 2, 4, 6, 9, 13, 18, 25, 35, 50)
_WIDTH = (36, 39, 41, 43, 45, 47, 49, 51, 54, 58, 63, 70)  # mean word length, tenths

# (name, steps) in the order `_shape` gives the values.
SHAPE: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("characters", _LOG),
    ("words", tuple(s // 4 for s in _LOG)),
    ("stem characters", _LOG),
    ("option characters", _LOG),
    ("options", (2, 3, 4, 5, 6, 8, 10)),
    ("lines", _FEW),
    ("sentences", _FEW),
    ("questions", (1, 2, 3, 5)),
    ("numbers", _FEW),
    ("different numbers", _FEW),
    ("longest number", (1, 2, 3, 4, 5, 6, 8)),
    ("decimals", (1, 2, 3, 5)),
    ("word length", _WIDTH),
    ("long words", _SHARE),
    ("different words", (30, 40, 50, 60, 65, 70, 75, 80, 85, 90, 95)),
    ("commas", _FEW),
    ("brackets", _FEW),
    ("backslashes", _FEW),
    ("operators", _FEW),
    ("code marks", _FEW),
    ("capitals", _SHARE),
    ("beyond ASCII", _SHARE),
    ("list items", _FEW),
    ("constraints", _FEW),
    ("negations", (1, 2, 3, 5)),
    ("hard verbs", (1, 2, 3, 5)),
    ("relations", _FEW),
    ("dollars", _FEW),
    ("quotes", _FEW),
)

FACTS = len(SHAPE) + 1 + meanings.COLUMNS

Indices = list[int]


class Read:
    """What `read` found. `words` share one norm, `shape` counts fully; `values` are those of SHAPE,
    `facts` (FACTS whole numbers) they, the form and what the words mean."""

    __slots__ = ("facts", "form", "shape", "words")

    def __init__(self, form: int, words: Indices, shape: Indices, facts: list[int]) -> None:
        self.form = form
        self.words = words
        self.shape = shape
        self.facts = facts

    @property
    def values(self) -> list[int]:
        """The counts, in the order of SHAPE."""
        return self.facts[: len(SHAPE)]


def bounded(text: str) -> str:
    """The text, or its two ends."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def read(text: str, bits: int) -> Read:
    """Features of `text` as indices below 2**bits."""
    whole = len(text)
    text = bounded(text)
    raw = text.encode("utf-8", "replace")
    words = raw.translate(_CUT).split()
    values, form = _shape(text, whole, words)
    mask = (1 << bits) - 1
    high = 32 - bits
    salt = _SALT[form]
    single = list(map(crc32, words))
    found = set(single)
    found.update(map(crc32, words[1:], single))
    found.update([crc32(word[:5], 2) for word in words if len(word) > 5])
    found.update([crc32(mark, 3) for mark in raw.translate(_MARKS).split()])
    # The low bits for all texts, the high bits for texts of this form: two independent places.
    hashed = [h & mask for h in found]
    hashed += [(h >> high) ^ salt & mask for h in found]
    shape = [crc32(b"form", form + 3) & mask]
    for value, (_, steps), slots in zip(values, SHAPE, _SLOTS, strict=True):
        for h in slots[: bisect_right(steps, value)]:
            shape.append(h & mask)
            shape.append((h >> high) ^ salt & mask)
    return Read(form, hashed, shape, [*values, form, *meanings.of(single)])


_SALT = tuple(crc32(b"form %d" % i) for i in range(len(FORMS)))
_SLOTS = tuple(
    tuple(crc32(b"%s %d" % (name.encode(), step), 5) for step in range(len(steps)))
    for name, steps in SHAPE
)


def _shape(text: str, whole: int, words: list[bytes]) -> tuple[list[int], int]:
    """The values of SHAPE, and the form."""
    count = text.count
    options = list(_OPTION.finditer(text))
    labels = {m.group(1) for m in options}
    first = options[0].start() if len(labels) >= 2 else len(text)
    numbers = _NUMBER.findall(text)
    total = max(len(words), 1)
    letters = sum(map(len, words))
    known = list(filter(None, map(_IN.get, words)))
    marks = len(_CODE.findall(text)) if _may_be_code(text) else 0
    capitals = sum(map(str.isupper, text)) if len(text) < 600 else sum(map(str.isupper, text[:600]))
    values = [
        whole,
        len(words),
        first,
        len(text) - first,
        len(labels) if len(labels) >= 2 else 0,
        count("\n"),
        len(_SENTENCE.findall(text)),
        count("?"),
        len(numbers),
        len(set(numbers)),
        max(map(len, numbers), default=0),
        sum("." in n for n in numbers),
        10 * letters // total,
        100 * sum(len(w) > 9 for w in words) // total,
        100 * len(set(words)) // total,
        count(","),
        count("(") + count("["),
        count("\\"),
        count("=") + count("+") + count("*") + count("^") + count("/") + count("<"),
        marks,
        100 * capitals // max(min(len(text), 600), 1),
        100 * (len(text) - len(text.encode("ascii", "ignore"))) // max(len(text), 1),
        len(_LIST.findall(text)),
        *(sum(found >> bit & 1 for found in known) for bit in range(len(_SETS))),
        count("$"),
        count('"') + count("“"),
    ]
    return values, _form(text, labels, marks, numbers, values)


def _may_be_code(text: str) -> bool:
    if ";" in text and "\n" in text:
        return True
    return any(map(text.__contains__, _CODE_NEEDS))


def _form(text: str, labels: set[str], marks: int, numbers: list[str], values: list[int]) -> int:
    if len(labels) >= 3:
        return CHOICES if len(labels) <= 5 else MANY_CHOICES
    if marks >= 2 or "```" in text or "[PYTHON]" in text:
        return CODE
    if text.count("$") >= 2 and "\\" in text:
        return FORMULAS
    if len(numbers) >= 2 and len(text) < 1500 and _ASKED.search(text):
        return WORD_PROBLEM
    if len(text) < 120 and values[6] <= 1:
        return SHORT
    return OPEN
