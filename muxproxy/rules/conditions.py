"""Conditions compiled to closures, once per configuration.

A compiled condition answers `hit(context)` with the reason why it holds, or None; `miss(context)`
says for people why it does not. Conditions that only compare fields come before those that read
text, and those before the whole conversation. No reason ever quotes a caller's text.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from muxproxy.config import when as language
from muxproxy.config.when import Every, Option, Test, Without
from muxproxy.headers import SECRET
from muxproxy.rules.context import Context
from muxproxy.rules.detectors import detect
from muxproxy.rules.globs import glob
from muxproxy.rules.linear import Searcher

Hit = Callable[[Context], str | None]
Miss = Callable[[Context], str]

ALWAYS = "always"
# What a test costs, for the order of evaluation.
FIELD, LOOKUP, READ, READ_ALL = range(4)

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ASK = (
    *("path", "dialect", "endpoint", "model", "stream", "tools", "images", "json"),
    *("prompt_chars", "prompt_tokens", "messages", "max_tokens", "n"),
)
_GETTERS: dict[str, Callable[[Context], Any]] = {
    **{name: operator.attrgetter(f"ask.{name}") for name in _ASK},
    **{name: operator.attrgetter(f"caller.{name}") for name in ("key", "team", "run")},
    # A key's own user counts before what the body claims.
    "user": lambda c: c.caller.user if c.caller.user is not None else c.ask.user,
}


class Compiled(msgspec.Struct, frozen=True):
    """`body`: it reads something that only an inspected body has."""

    hit: Hit
    miss: Miss
    cost: int
    body: bool = False


def compile_condition(condition: language.Condition) -> Compiled:
    """Closures for a parsed condition."""
    if isinstance(condition, Test):
        return _test(condition)
    if isinstance(condition, Without):
        return _without(compile_condition(condition.part))
    parts = [compile_condition(part) for part in condition.parts]
    return _every(parts) if isinstance(condition, Every) else _some(parts)


def _every(parts: Sequence[Compiled]) -> Compiled:
    ordered = sorted(parts, key=lambda p: p.cost)
    hits = tuple(p.hit for p in ordered)

    def hit(c: Context) -> str | None:
        whys = []
        for one in hits:
            why = one(c)
            if why is None:
                return None
            whys.append(why)
        return ", ".join(whys)

    def miss(c: Context) -> str:
        return next((p.miss(c) for p in ordered if p.hit(c) is None), "")

    if not parts:
        return Compiled(lambda c: ALWAYS, lambda c: "", FIELD)
    chosen = hits[0] if len(hits) == 1 else hit
    return Compiled(chosen, miss, ordered[-1].cost, any(p.body for p in parts))


def _some(parts: Sequence[Compiled]) -> Compiled:
    ordered = sorted(parts, key=lambda p: p.cost)
    hits = tuple(p.hit for p in ordered)

    def hit(c: Context) -> str | None:
        for one in hits:
            why = one(c)
            if why is not None:
                return why
        return None

    def miss(c: Context) -> str:
        return " and ".join(dict.fromkeys(p.miss(c) for p in ordered))

    return Compiled(hit, miss, ordered[-1].cost if ordered else FIELD, any(p.body for p in parts))


def _without(part: Compiled) -> Compiled:
    inner, body = part.hit, part.body

    def hit(c: Context) -> str | None:
        # What was not read is unknown, and so is its opposite.
        if body and not c.inspected:
            return None
        return None if inner(c) is not None else part.miss(c)

    def miss(c: Context) -> str:
        return inner(c) or UNREAD

    return Compiled(hit, miss, part.cost, body)


# Characters of a model, user or path name within a reason.
MAX_SHOWN = 120
UNREAD = "the body is not read on this path"


def _test(test: Test) -> Compiled:
    field = test.field
    if field in ("text", "all_text"):
        hit, miss = _text_test(test)
        cost = READ if field == "text" else READ_ALL
    elif field in ("hour", "weekday"):
        (hit, miss), cost = _time_test(test), LOOKUP
    elif field == "budget":
        (hit, miss), cost = _budget_test(test), LOOKUP
    elif field == "header":
        (hit, miss), cost = _header_test(test), LOOKUP
    elif field == "tag":
        (hit, miss), cost = _tag_test(test), LOOKUP
    else:
        (hit, miss), cost = _value_test(test, _GETTERS[field]), FIELD
    if field not in language.BODY:
        return Compiled(hit, miss, cost)

    def hit_if_read(c: Context) -> str | None:
        return hit(c) if c.inspected else None

    def miss_if_read(c: Context) -> str:
        return miss(c) if c.inspected else UNREAD

    return Compiled(hit_if_read, miss_if_read, cost, True)


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    # A caller's name must not break a log line.
    return text if len(text) <= MAX_SHOWN and text.isprintable() else repr(text[:MAX_SHOWN])


def _wanted(option: Option) -> str:
    if option.op == "null":
        return "absent"
    if option.op in ("==", "glob", "word", "detector"):
        return _show(option.value)
    return f"{option.op} {option.value}"


def _matcher(label: str, option: Option) -> Callable[[Any], str | None]:
    """For one value that is not None: the reason, or None."""
    if option.op == "glob":
        covers, pattern = glob(str(option.value)), option.value
        return lambda v: f"{label} is {_show(v)} ({pattern})" if covers(v) else None
    compare, bound = _COMPARE[option.op], option.value
    if not isinstance(bound, str) and option.op != "==":
        test = f"{option.op} {bound}"
        return lambda v: f"{label} is {_show(v)} ({test})" if compare(v, bound) else None
    return lambda v: f"{label} is {_show(v)}" if compare(v, bound) else None


def _value_test(test: Test, get: Callable[[Context], Any]) -> tuple[Hit, Miss]:
    label = test.field
    # A null in the list, and != x, also hold for what is absent.
    exact: dict[Any, str] = {
        o.value if o.op == "==" else None: f"{label} is {_show(o.value)}" if o.op == "==" else ""
        for o in test.options
        if o.op in ("==", "null")
    }
    absent = f"no {label}" if any(o.op in ("null", "!=") for o in test.options) else None
    if None in exact:
        exact[None] = f"no {label}"
    others = tuple(_matcher(label, o) for o in test.options if o.op not in ("==", "null"))
    wanted = " or ".join(_wanted(o) for o in test.options)

    def hit(c: Context) -> str | None:
        value = get(c)
        why = exact.get(value)
        if why is not None or not others:
            return why
        if value is None:
            return absent
        for other in others:
            why = other(value)
            if why is not None:
                return why
        return None

    def miss(c: Context) -> str:
        value = get(c)
        return f"{label} is {'absent' if value is None else _show(value)}, not {wanted}"

    if not others:  # the usual case: one look-up
        return (lambda c: exact.get(get(c))), miss
    return hit, miss


def _several(test: Test, label: str, get: Callable[[Context], Sequence[str]]) -> tuple[Hit, Miss]:
    """A field with any number of values: one that fits is enough, but != x excludes x."""
    null = any(o.op == "null" for o in test.options)
    excluded = {o.value for o in test.options if o.op == "!="}
    others = tuple(_matcher(label, o) for o in test.options if o.op not in ("null", "!="))
    wanted = " or ".join(_wanted(o) for o in test.options)

    def hit(c: Context) -> str | None:
        values = get(c)
        if not values and null:
            return f"no {label}"
        if excluded and excluded.isdisjoint(values):
            return f"{label} is not {' or '.join(map(str, excluded))}"
        for value in values:
            for other in others:
                why = other(value)
                if why is not None:
                    return why
        return None

    def miss(c: Context) -> str:
        values = get(c)
        return f"{label} is {', '.join(values) if values else 'absent'}, not {wanted}"

    return hit, miss


def _tag_test(test: Test) -> tuple[Hit, Miss]:
    return _several(test, "tag", lambda c: c.tags)


def _header_test(test: Test) -> tuple[Hit, Miss]:
    name, label = test.arg.encode("latin-1"), f"header {test.arg}"

    def values(c: Context) -> list[str]:
        return [v.decode("latin-1").strip() for k, v in c.headers if k == name]

    numeric = [o for o in test.options if not isinstance(o.value, str) and o.op != "null"]
    matches = (
        _numeric_header(label, numeric, values) if numeric else _several(test, label, values)[0]
    )
    absent, fits = f"no {label}", f"{label} fits"
    if all(o.op == "==" for o in test.options) and name not in SECRET:
        fits = f"{label} is {' or '.join(_wanted(o) for o in test.options)}"

    def hit(c: Context) -> str | None:
        # What a header holds may be secret: reasons say that it fits, not what it is.
        why = matches(c)
        return why if why is None or why == absent else fits

    def miss(c: Context) -> str:
        return f"{label} does not fit" if values(c) else absent

    return hit, miss


def _numeric_header(
    label: str, options: Sequence[Option], values: Callable[[Context], Sequence[str]]
) -> Hit:
    def hit(c: Context) -> str | None:
        for text in values(c):
            if _NUMBER.fullmatch(text) is None:
                continue
            for option in options:
                if _COMPARE[option.op](float(text), option.value):
                    return f"{label} is {text} ({option.op} {option.value:g})"
        return None

    return hit


_NUMBER = re.compile(r"[-+]?\d{1,15}(?:\.\d{1,15})?", re.ASCII)


def _time_test(test: Test) -> tuple[Hit, Miss]:
    zone, ranges = test.tz, [o.value for o in test.options]

    def clock(c: Context) -> str:
        date = c.date(zone)
        return f"{date:%H:%M} {zone}" if test.field == "hour" else language.DAYS[date.weekday()]

    def hit(c: Context) -> str | None:
        date = c.date(zone)
        if test.field == "weekday":
            inside = any(date.weekday() in days for days in ranges)
        else:
            minute = date.hour * 60 + date.minute
            inside = any(
                start <= minute < end if start < end else minute >= start or minute < end
                for start, end in ranges
            )
        return f"{test.field} is {clock(c)}" if inside else None

    return hit, lambda c: f"{test.field} is {clock(c)}"


def _budget_test(test: Test) -> tuple[Hit, Miss]:
    name, label = test.arg, f"budget {test.arg}"

    def hit(c: Context) -> str | None:
        share = c.budgets.share(name, c.caller, c.ask)
        if share is None:
            return None
        for o in test.options:
            if _COMPARE[o.op](share, o.value):
                return f"{label} is {share:.0%} used ({o.op} {o.value:.0%})"
        return None

    def miss(c: Context) -> str:
        share = c.budgets.share(name, c.caller, c.ask)
        return f"{label} is {'unknown' if share is None else f'{share:.0%} used'}"

    return hit, miss


def _text_test(test: Test) -> tuple[Hit, Miss]:
    field = test.field
    hits = tuple(_TEXT[o.op](field, o.value) for o in test.options)

    def hit(c: Context) -> str | None:
        for one in hits:
            why = one(c)
            if why is not None:
                return why
        return None

    def named(o: Option) -> str:
        return str(o.value.text) if o.op == "regex" else str(o.value)

    wanted = " or ".join(named(o) for o in test.options)
    return (hits[0] if len(hits) == 1 else hit), lambda c: f"{field} is not {wanted}"


def _detector(field: str, name: str) -> Hit:
    def hit(c: Context) -> str | None:
        saw = detect(name, c.text(field).reading)
        return f"{field} has {saw}" if saw is not None else None

    return hit


def _regex(field: str, regex: Any) -> Hit:
    search, why = Searcher(regex).search, f"{field} matches {regex.text}"
    return lambda c: why if search(c.text(field).bounded) else None


def _word(field: str, word: str) -> Hit:
    folded, why = word.casefold(), f"{field} has the word {word}"
    # Borders stand only beside letters: "c++" ends without one.
    before = r"(?<!\w)" if re.match(r"\w", folded) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", folded) else ""
    border = re.compile(f"{before}{re.escape(folded)}{after}")

    def hit(c: Context) -> str | None:
        text = c.text(field).folded
        return why if folded in text and border.search(text) else None

    return hit


_TEXT: dict[str, Callable[[str, Any], Hit]] = {
    "detector": _detector,
    "regex": _regex,
    "word": _word,
}
