"""Does one condition hold wherever another does? For rules that an earlier one leaves nothing.

Careful, not complete: `implies` is only True where it is certain, so that `check` never calls a
rule dead that some request could meet.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from muxproxy.config import when as language
from muxproxy.config.model import Rule
from muxproxy.config.when import Condition, Every, Option, Some, Test, Without

_LESS: dict[str, Callable[[Any, Any], bool]] = {"<": operator.lt, "<=": operator.le}
_MORE: dict[str, Callable[[Any, Any], bool]] = {">": operator.gt, ">=": operator.ge}
_COMPARE = {**_LESS, **_MORE, "==": operator.eq, "!=": operator.ne}
# Fields that may hold several values at once: there, "not x" says more than "y".
_SEVERAL = frozenset({"header", "tag"})
# A rule that names one of these means it for every path; others with `to` only for chats.
_MEANS_PATH = frozenset({"path", "endpoint", "header"})
# Earlier rules without an exact condition that each rule is compared with: bounds the work.
_MOST_GENERAL = 100


def covered(rules: Sequence[Rule]) -> list[tuple[int, int]]:
    """(later, earlier): pairs of rules where the earlier one takes all that the later one asks."""
    found: list[tuple[int, int]] = []
    exact: dict[tuple[str, str, object], list[int]] = defaultdict(list)
    general: list[int] = []
    parsed: list[Every] = []
    for at, rule in enumerate(rules):
        tree = language.parse(rule.when, lambda *_: None)
        parsed.append(tree)
        candidates = [*general[:_MOST_GENERAL], *(i for k in _keys(tree) for i in exact[k])]
        for other in sorted(set(candidates)):
            if _reaches(rules[other], parsed[other], rule, tree) and implies(tree, parsed[other]):
                found.append((at, other))
                break
        if rule.continue_ or rule.shadow or not tree.parts:
            continue  # it ends no search; one without conditions is told of elsewhere
        keys = _keys(tree)
        for key in keys:
            exact[key].append(at)
        if not keys:
            general.append(at)
    return found


def _keys(tree: Every) -> list[tuple[str, str, object]]:
    """The values of the first test that only compares with fixed ones."""
    for part in tree.parts:
        if isinstance(part, Test) and all(o.op in ("==", "null") for o in part.options):
            return [(part.field, part.arg, (o.op, o.value)) for o in part.options]
    return []


def _reaches(first: Rule, tree: Every, later: Rule, later_tree: Every) -> bool:
    """Whether the earlier rule is asked at every path at which the later one is."""
    if first.to is None:
        return True
    fields, others = _fields(tree), _fields(later_tree)
    if fields & _MEANS_PATH:
        return True
    if later.to is None or others & _MEANS_PATH:
        return False
    return "model" in fields or "model" not in others  # embeddings


def _fields(tree: Every) -> set[str]:
    return {test.field for test in language.tests(tree)}


def implies(one: Condition, other: Condition) -> bool:
    """Certainly, `other` holds wherever `one` does."""
    if isinstance(other, Every):
        return all(implies(one, part) for part in other.parts)
    if isinstance(one, Some):
        return all(implies(part, other) for part in one.parts)
    if isinstance(other, Some):
        whole = any(implies(one, part) for part in other.parts)
        return whole or _a_part(one, other)
    if isinstance(one, Every):
        return _a_part(one, other)
    if isinstance(other, Without):
        return isinstance(one, Without) and implies(other.part, one.part)
    return isinstance(one, Test) and _test(one, other)


def _a_part(one: Condition, other: Condition) -> bool:
    return isinstance(one, Every) and any(implies(part, other) for part in one.parts)


def _test(one: Test, other: Test) -> bool:
    if (one.field, one.arg) != (other.field, other.arg):
        return False
    if one.field in ("hour", "weekday") and one.tz != other.tz:
        return False
    return all(_among(option, other.options, one.field) for option in one.options)


def _among(option: Option, others: Iterable[Option], field: str) -> bool:
    return any(_option(option, other, field) for other in others)


def _option(one: Option, other: Option, field: str) -> bool:
    if one == other:
        return True
    a, b = one.value, other.value
    if one.op == "days" and other.op == "days":
        return bool(a <= b)
    if one.op == "hours" and other.op == "hours":
        return bool(b[0] <= a[0] < a[1] <= b[1])
    if other.op == "glob":
        return one.op == "==" and fnmatchcase(str(a), str(b))
    if other.op == "!=" and field in _SEVERAL:
        return False
    if one.op == "null" and other.op == "!=":
        return True
    if one.op == "==" and other.op in _COMPARE:
        return bool(_comparable(a, b) and _COMPARE[other.op](a, b))
    for side in (_LESS, _MORE):
        if one.op in side and other.op in side:
            strict = "<=" if side is _LESS else ">="
            inside = side[strict](a, b)
            return bool(inside and (a != b or one.op != strict or other.op == strict))
    return False


def _comparable(a: object, b: object) -> bool:
    return isinstance(a, str) == isinstance(b, str)
