"""What kind of text the user wrote: `code`, `complex` or `simple`.

The triggers are ModelMuxer's: code blocks, inline code and programming keywords; words such as
analyze, explain, debug, reasoning; short prompts and simple question shapes. They say what a text
is about, and little about how hard it is. Each detector answers with what it saw ("a code
block"), or None.

A text is cut into lower-case words once (`Reading`), at memory speed, and the detectors compare
sets; expressions run only where a literal beginning of theirs was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

# Characters at the beginning and at the end of a text that patterns and words look at.
BOUND = 65_536
# Detectors need less: what a prompt is about shows at its ends.
DETECTOR_BOUND = 4_096
SHORT_PROMPT = 100  # characters below which a prompt is "short"
SHORT_QUESTION = 200  # characters up to which a question shape counts


def bounded(text: str, bound: int = BOUND) -> str:
    """The text, or its first and last `bound` characters on separate lines."""
    if len(text) <= 2 * bound:
        return text
    return f"{text[:bound]}\n{text[-bound:]}"


# Bytes of a word stay (lower case), all others part words. Characters beyond ASCII arrive as "?",
# so that a keyword inside Chinese or Japanese text is a word of its own.
_CUT = bytes(
    ord(chr(b).lower()) if chr(b).isascii() and (chr(b).isalnum() or chr(b) in "_+#-'") else 32
    for b in range(256)
)


class Reading:
    """One text and, once asked for, its words."""

    __slots__ = ("_set", "_words", "found", "line", "text")

    def __init__(self, text: str) -> None:
        self.text = text  # whole
        # Every line, the first too, begins after "\n".
        self.line = f"\n{bounded(text, DETECTOR_BOUND)}"
        self.found: dict[str, str | None] = {}
        self._words: list[bytes] | None = None
        self._set: frozenset[bytes] | None = None

    @property
    def words(self) -> list[bytes]:
        """The words in order, lower case."""
        if self._words is None:
            self._words = self.line.encode("ascii", "replace").translate(_CUT).split()
        return self._words

    @property
    def vocabulary(self) -> frozenset[bytes]:
        """The different words."""
        if self._set is None:
            self._set = frozenset(self.words)
        return self._set


def _vocabulary(*entries: str) -> dict[bytes, tuple[tuple[bytes, ...], ...]]:
    """First word -> the continuations that make a hit; () for the word alone."""
    table: dict[bytes, tuple[tuple[bytes, ...], ...]] = {}
    for entry in entries:
        first, *rest = entry.encode().split()
        table[first] = (*table.get(first, ()), tuple(rest))
    return table


Vocabulary = Mapping[bytes, tuple[tuple[bytes, ...], ...]]

# Words that hardly ever mean anything but programming.
_PROGRAMMING: Vocabulary = _vocabulary(
    *("python", "javascript", "typescript", "java", "golang", "kotlin", "haskell", "c++", "c#"),
    *("sql", "html", "css", "regex", "regexp", "json schema", "bash script", "shell script"),
    *("pytest", "unit test", "unit tests", "stack trace", "stacktrace", "traceback", "segfault"),
    *("refactor", "refactoring", "codebase", "source code", "pseudocode", "compiler", "algorithm"),
    *("programming", "dockerfile", "kubernetes", "null pointer", "syntax error", "git commit"),
    *("pull request", "code review", "recursive function", "rest api", "graphql", "quicksort"),
    *("binary search", "linked list", "hash map", "in rust", "race condition", "memory leak"),
)
# Lines of code without a fence, by shape and case, so that "class" or "import" in prose is no
# hit: (word that must be there, literal beginning, the rest, what to call it). Each expression
# begins with its literal, which `re` searches fast.
_SHAPES: tuple[tuple[bytes, re.Pattern[str], str], ...] = tuple(
    (word, re.compile(re.escape(start) + rest), name)
    for word, start, rest, name in (
        (b"def", "def ", r"\w{1,80}\s?\(", "a function definition"),
        (b"class", "class ", r"[A-Z]\w{0,80}\s?[:({]", "a class"),
        (b"function", "function", r"(?:\s\w{0,80}\s?)?\(", "a function definition"),
        (b"import", "\nimport ", r"[\w.*{]{1,80}(?: from |,| as |;|\s*\n|$)", "an import"),
        (b"import", "\nfrom ", r"[\w.]{1,80} import ", "an import"),
        (b"#include", "#include", r"\s?[<\"]", "an include"),
        (b"func", "func ", r"(?:\(\w{1,40} \*?\w{1,40}\) )?\w{1,80}\(", "a function definition"),
        (b"fn", "fn ", r"\w{1,80}\s?[(<]", "a function definition"),
        (b"public", "public ", r"(?:static |final ){0,2}\w{1,80} \w{1,80}\s?\(", "a method"),
        (b"select", "SELECT ", r"[^;]{1,200}?\sFROM\s", "an SQL query"),
        (b"console", "console.log(", r"", "a call"),
        (b"const", "const ", r"\w{1,80}\s?=", "a declaration"),
        (b"thread", "Exception in thread", r"", "an error message"),
    )
)
_SHAPE_WORDS = frozenset(word for word, _, _ in _SHAPES)
# The same without a word to go by.
_SIGNS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (") => {", re.compile(r"\) => \{"), "an arrow function"),
    ("#!/", re.compile(r"\n#!/\w"), "a script"),
    ("</", re.compile(r"</[a-z][a-z0-9]{0,15}>"), "markup"),
    ("Error:", re.compile(r"Error: "), "an error message"),
    ("Exception:", re.compile(r"Exception: "), "an error message"),
)
# "write a function that ...", "fix my script": an everyday noun counts shortly after a verb of
# making; nouns of school and office only after the plainest of them.
_WRITE = frozenset((b"write", b"implement", b"code", b"fix", b"debug", b"refactor", b"port"))
_MAKE = _WRITE | {b"create", b"build", b"review", b"optimize", b"optimise", b"test", b"run"}
_MAKE = _MAKE | {b"generate", b"convert", b"complete", b"explain"}
_NOUNS: dict[bytes, frozenset[bytes]] = {
    **dict.fromkeys((b"function", b"script", b"code", b"loop", b"api", b"endpoint"), _MAKE),
    **dict.fromkeys((b"parser", b"decorator", b"query", b"snippet", b"functions"), _MAKE),
    **dict.fromkeys((b"class", b"program", b"method", b"module", b"component"), _WRITE),
    **dict.fromkeys((b"test", b"tests", b"bug"), _WRITE),
}
_NOUN_SET = frozenset(_NOUNS)
_REACH = 4  # words between the verb and its noun, at most, plus one
_INLINE = re.compile(r"`[^`\n]{1,200}`(?!`)")

_COMPLEX: Vocabulary = _vocabulary(
    *("analyze", "analyse", "analyzing", "analysis", "explain", "debug", "debugging"),
    *("reasoning", "reason", "compare", "contrast", "evaluate", "assess", "critique", "prove"),
    *("proof", "derive", "design", "architecture", "optimize", "optimise", "investigate"),
    *("diagnose", "troubleshoot", "synthesize", "strategy", "trade-off", "trade-offs"),
    *("tradeoff", "tradeoffs", "implications", "step by step", "step-by-step", "root cause"),
    *("in depth", "in-depth", "in detail", "pros and cons", "think through", "comprehensive"),
    *("theorem", "hypothesis", "elaborate", "justify"),
)
_QUESTION = re.compile(
    r"(?:(?:what(?:'s|\sis|\sare|\swas|\sdoes)|who(?:'s|\sis|\swas|\sare|\swrote)"
    r"|when(?:\sis|\swas|\sdid|\sdoes)|where(?:'s|\sis|\sare|\swas)|which|how\s(?:many|much|old"
    r"|far|tall|long|big)|is|are|was|does|do|did|can|define|translate|spell|list|name|convert)\s"
    r"|(?:hi|hello|hey|thanks?|thank\syou|good\s(?:morning|afternoon|evening)|yes|no|ok|okay)\b)",
    re.IGNORECASE,
)


def _code(reading: Reading) -> str | None:
    """A code block, inline code, a line of code, or a programming keyword."""
    text, line = reading.text, reading.line
    if "```" in text or "\n~~~" in line:
        return "a code block"
    if "`" in line and _INLINE.search(line):
        return "inline code"
    for sign, expression, name in _SIGNS:
        if sign in line and expression.search(line):
            return name
    if not _SHAPE_WORDS.isdisjoint(reading.vocabulary):
        for needed, expression, name in _SHAPES:
            if needed in reading.vocabulary and expression.search(line):
                return name
    word = _hit(_PROGRAMMING, reading)
    if word is not None:
        return f"the programming word {word}"
    if not _NOUN_SET.isdisjoint(reading.vocabulary) and not _MAKE.isdisjoint(reading.vocabulary):
        request = _request(reading.words)
        if request is not None:
            return f"the programming request {request!r}"
    return None


def _request(words: list[bytes]) -> str | None:
    for at, word in enumerate(words):
        verbs = _NOUNS.get(word)
        if verbs is None or words[at + 1 : at + 2] == [b"of"]:  # code of conduct
            continue
        for before in range(at - 1, max(-1, at - 1 - _REACH), -1):
            if words[before] in verbs:
                return b" ".join(words[before : at + 1]).decode()
    return None


def _complex(reading: Reading) -> str | None:
    """A word that asks for analysis, explanation, debugging or reasoning."""
    word = _hit(_COMPLEX, reading)
    return f"the word {word}" if word is not None else None


def _simple(reading: Reading) -> str | None:
    """A short prompt, or a question of a simple shape, that is neither code nor complex."""
    if len(reading.text) > 2 * SHORT_QUESTION:
        return None
    stripped = reading.text.strip()
    size = len(stripped)
    if not stripped or size > SHORT_QUESTION:
        return None
    short = size < SHORT_PROMPT
    if not short and not _QUESTION.match(stripped):
        return None
    if detect("complex", reading) is not None or detect("code", reading) is not None:
        return None
    return f"only {size} characters" if short else "a simple question"


def _hit(vocabulary: Vocabulary, reading: Reading) -> str | None:
    if reading.vocabulary.isdisjoint(vocabulary):
        return None
    for at, word in enumerate(reading.words):
        for rest in vocabulary.get(word, ()):
            if tuple(reading.words[at + 1 : at + 1 + len(rest)]) == rest:
                return b" ".join((word, *rest)).decode()
    return None


_DETECTORS: dict[str, Callable[[Reading], str | None]] = {
    "code": _code,
    "complex": _complex,
    "simple": _simple,
}


def detect(name: str, reading: Reading) -> str | None:
    """What detector `name` (code, complex, simple) saw in the text, or None; worked out once."""
    if name not in reading.found:
        reading.found[name] = _DETECTORS[name](reading)
    return reading.found[name]
