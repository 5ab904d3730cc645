"""An explanation as a tree that a person can read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

_YES, _NO, _UNREACHED = "+", "-", "."
# Characters of a body shown; the whole is in --json.
_MOST_BODY = 600

# Of a price; the other kinds follow from these or are rare.
_KINDS = ("input", "output", "cache_read", "cache_write")

Lines = list["str | tuple[str, Lines]"]


def render(found: dict[str, Any]) -> str:
    """The whole explanation."""
    tree: Lines = [f"caller: {_pairs(found['caller'])}"]
    if found["ask"] is not None:
        tree.append(f"asks: {_pairs(found['ask'])}")
    if found["rules"]:
        tree.append(("rules, in order (+ took effect, - did not match, . not reached)",
                     [_rule(one) for one in found["rules"]]))  # fmt: skip
    plan = found["plan"]
    if plan is not None:
        shown = {k: v for k, v in plan.items() if k not in ("reason", "candidates")}
        lines: Lines = [f"because: {plan['reason']}"] if plan["reason"] else []
        if plan["candidates"]:
            lines.append(f"in this order: {', '.join(plan['candidates'])}")
        if plan.get("explore"):
            lines.append(f"{100 * plan['explore']:.3g} % of such calls are explored (judged)")
        tree.append((f"plan: {_pairs(shown) or 'no rule took effect'}", lines))
    tree += [_candidate(one) for one in found["candidates"]]
    outcome = found["outcome"]
    if outcome["status"] == 200:
        tree.append(f"so: sent to {_where(outcome)}")
    else:
        tree.append(f"so: refused with {outcome['status']} {outcome['code']}: {outcome['message']}")
    return "\n".join(_draw(tree))


def past(receipt: dict[str, Any]) -> str:
    """A call of the past, from its receipt."""
    ask = receipt.get("ask") or {}
    usage = receipt["usage"]
    tree: Lines = [
        f"caller: {_pairs({k: receipt[k] for k in ('caller', 'user', 'team', 'tags', 'run')})}",
        f"asked: {_pairs({**ask, 'dialect': receipt['dialect'], 'path': receipt['path']})}",
        (f"rule: {receipt['rule'] or 'none'}", [f"because: {part}" for part in _reasons(receipt)]),
        f"sent to: {_where(receipt)} in {receipt['attempts']} attempt(s)",
        f"edits: {', '.join(receipt['edits']) or 'none: byte for byte'}",
        f"usage: {_pairs(usage) if usage else 'none'} ({receipt['usage_source'] or 'unknown'})",
        f"money: {_pairs({k: receipt[k] for k in ('held_usd', 'cost_usd', 'overrun_usd')})}",
        f"ended: {receipt['end']} with {receipt['status']}"
        + (f" ({receipt['code']})" if receipt["code"] else "")
        + (", explored" if receipt.get("explored") else "")
        + ("" if receipt.get("feedback") is None else f", rated {receipt['feedback']:g}"),
    ]
    again = receipt.get("again")
    if again is not None:
        tree.append(_again(again))
    return "\n".join([f"{receipt['id']} at {receipt['time']}", *_draw(tree)])


def _again(again: dict[str, Any]) -> tuple[str, Lines]:
    """The same call under the configuration as it is now."""
    cost = "" if again["cost_usd"] is None else f", {_dollars(again['cost_usd'])}"
    unsure = f" (as then: {again['undecided']})" if again["undecided"] else ""
    return (
        f"under the configuration as it is now: {again['goes_to']}{cost}{unsure}",
        [_rule(one) for one in again["rules"]],
    )


def _reasons(receipt: dict[str, Any]) -> list[str]:
    return [part for part in (receipt["reason"] or "").split("; ") if part]


def _rule(one: dict[str, Any]) -> str:
    mark = _YES if one["matched"] else _NO
    if not one["reached"]:
        mark = _UNREACHED
    shadow = " (shadow: recorded only)" if one["shadow"] else ""
    late = " (would match)" if one["matched"] and not one["reached"] else ""
    return f"{mark} {one['rule']}{shadow}{late}: {one['why']}"


def _candidate(one: dict[str, Any]) -> tuple[str, Lines]:
    lines: Lines = []
    price = one.get("price")
    if price is not None:
        known = price["per_million_usd"]
        rates = ", ".join(f"{k} ${known[k]:g}" for k in _KINDS if k in known)
        lines.append(f"price per million: {'free' if price['free'] else rates}")
    elif "price" in one:
        lines.append("price: unknown")
    estimate = one.get("estimate")
    if estimate is not None:
        cost = estimate["cost_usd"]
        money = "" if cost is None else f", up to {_dollars(cost)}"
        lines.append(
            f"estimate: {estimate['tokens_in']} tokens in, {estimate['tokens_out']} out{money}"
        )
    lines += [_budget(each) for each in one.get("budgets", ())]
    if one.get("limits"):
        lines.append(f"limits: {', '.join(each['name'] for each in one['limits'])}")
    if one.get("max_tokens") is not None:
        lines.append(f"max_tokens lowered to {one['max_tokens']}")
    if one.get("hedge") is not None:
        lines.append(f"second attempt: {one['hedge']}")
    request = one.get("request")
    if request is not None:
        headers: Lines = [f"{name}: {value}" for name, value in request["headers"].items()]
        body = json.dumps(request["body"], ensure_ascii=False)
        headers.append(body if len(body) <= _MOST_BODY else f"{body[:_MOST_BODY]} ...")
        edits = ", ".join(request["edits"]) or "none: byte for byte"
        lines.append(f"edits: {edits}")
        lines.append((f"{request['method']} {request['url']}", headers))
    return (f"{_where(one)}: {one['verdict']}", lines)


def _budget(one: dict[str, Any]) -> str:
    def say(value: float) -> str:
        return _dollars(value) if one["unit"] == "usd" else f"{value:,.0f} tokens"

    needs = "" if one["needs"] is None else f", this call holds {say(one['needs'])}"
    shadow = " (shadow)" if one["shadow"] else ""
    return (
        f"budget {one['name']} of {one['scope']}{shadow}: {say(one['remaining'])} of "
        f"{say(one['limit'])} left{needs}"
    )


def _dollars(value: float) -> str:
    text = f"{value:.9f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"${whole}.{part.ljust(2, '0')}"


def _where(one: dict[str, Any]) -> str:
    return "/".join(filter(None, (one["provider"], one["model"]))) or "nobody"


def _pairs(values: dict[str, Any]) -> str:
    shown = []
    for name, value in values.items():
        if value in (None, False, [], {}, ""):
            continue
        text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
        shown.append(name if value is True else f"{name} {text}")
    return ", ".join(shown)


def _draw(lines: Sequence[str | tuple[str, Lines]], indent: str = "") -> Iterator[str]:
    for line in lines:
        if isinstance(line, str):
            yield f"{indent}{line}"
        else:
            yield f"{indent}{line[0]}"
            yield from _draw(line[1], indent + "  ")
