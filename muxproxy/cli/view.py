"""The status page as lines of a terminal: never wider and never longer than it."""

from __future__ import annotations

import re
import textwrap
from typing import Any

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_BAR = 20
_MOST_OF_AN_ERROR = 4  # lines


class Paint:
    """Colours, or none."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, text: str, colour: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._colours else text


def page(
    now: dict[str, Any], before: dict[str, Any] | None, width: int, height: int, paint: Paint
) -> list[str]:
    """`before`: the answer of the last look, for rates."""
    lines = [_head(now, paint), *_config(now["config"], width, paint), _traffic(now, before)]
    budgets = [_budget(one, paint) for one in now["budgets"]]
    providers = [_provider(one, paint) for one in now["providers"]]
    calls = [_call(one, paint) for one in now["calls"]]
    # The calls take what is left; budgets and providers share a small screen.
    room = max(height - len(lines) - 3, 6)
    third = max(room // 3, 2)
    budgets, providers = _cut(budgets, third), _cut(providers, third)
    lines += [_title("BUDGETS", paint), *budgets] if budgets else []
    lines += [_title("PROVIDERS", paint), *providers] if providers else []
    left = max(height - len(lines) - 1, 0)
    lines += [_title("LAST CALLS", paint), *calls[:left]] if calls and left else []
    return [_fit(line, width) for line in lines[:height]]


def _cut(lines: list[str], most: int) -> list[str]:
    return (
        lines if len(lines) <= most else [*lines[: most - 1], f"  and {len(lines) - most + 1} more"]
    )


def _fit(line: str, width: int) -> str:
    """Cut at the terminal's edge, its colours closed."""
    if len(_ESCAPE.sub("", line)) <= width:
        return line
    out, room = "", width
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if _ESCAPE.fullmatch(part):
            out += part
        else:
            out += part[:room]
            room -= len(part[:room])
    return out


def _title(text: str, paint: Paint) -> str:
    return paint(text, "dim")


def _head(now: dict[str, Any], paint: Paint) -> str:
    state = paint("ready", "green") if now["ready"] else paint("not ready", "red")
    trouble = "".join(
        paint(f"  {name}: {now['detail'][name]}", "red")
        for name in ("ledger", "draining")
        if now["detail"].get(name) not in (None, "ok")
    )
    name = paint("muxproxy", "bold")
    return f"{name} {now['version']}  {state}{trouble}  up {_span(now['uptime_s'])}"


def _config(config: dict[str, Any], width: int, paint: Paint) -> list[str]:
    files = config["files"]
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    name = _clean(files[0]) + more if files else "the defaults"
    lines = [f"config {name} since {config['since'][:19].replace('T', ' ')}"]
    if config["error"]:
        first, *rest = str(config["error"]).splitlines()
        also = f" (and {len(rest)} more)" if rest else ""
        text = f"not taken, the last good one stays: {_clean(first)}{also}"
        wrapped = textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
        lines += [paint(line, "red") for line in wrapped[:_MOST_OF_AN_ERROR]]
    if config["restart_needed"]:
        waits = ", ".join(config["restart_needed"])
        lines.append(paint(f"  waits for a restart: {waits}", "yellow"))
    if config["warnings"]:
        count = len(config["warnings"])
        lines.append(
            paint(f"  {count} doubt{'s' * (count > 1)}: muxproxy check says which", "yellow")
        )
    return lines


def _traffic(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    today, totals = now["today"], now["totals"]
    parts = [
        f"in flight {now['in_flight']}",
        f"streams {now['streams']}",
        f"requests {totals['requests']}",
        f"today ${today['cost_usd'] or 0:.4f} in {today['requests']}",
    ]
    if before is not None:
        seconds = max(now["uptime_s"] - before["uptime_s"], 0.1)

        def rate(name: str) -> float:
            return (float(totals[name]) - float(before["totals"][name])) / float(seconds)

        parts.insert(2, f"{rate('requests'):.1f} req/s")
        parts.insert(3, f"{rate('tokens_in') + rate('tokens_out'):.0f} tok/s")
    return "  ".join(parts)


def _budget(one: dict[str, Any], paint: Paint) -> str:
    limit, spent = float(one["limit"] or 0), float(one["spent"]) + float(one["held"])
    share = spent / limit if limit else 1.0
    filled = min(int(share * _BAR), _BAR)
    colour = "red" if share >= 1 else "yellow" if share >= 0.8 else "green"
    bar = paint("#" * filled, colour) + "." * (_BAR - filled)
    scope = "" if one["scope"] == "all" else f" {_clean(one['scope'])}"
    name, window = _clean(one["name"]), one["window"]
    return f"  [{bar}] {share:4.0%} {name}{scope}: {spent:g} of {limit:g}, {window}"


def _provider(one: dict[str, Any], paint: Paint) -> str:
    models = one.get("models") or ()
    troubled = [each for each in models if each["state"] != "closed"]
    if troubled:
        names = ", ".join(f"{_clean(each['model'])} {each['state']}" for each in troubled)
        state, colour = f"failing: {names}", "red"
    elif one["key"] == "set" or one["free"]:
        state, colour = "on", "green"
    else:
        state, colour = "no key", "yellow"
    pool = one.get("connections") or {}
    flight = f"  {pool.get('in_flight', 0)} in flight, {pool.get('open', 0)} open" if pool else ""
    latencies = [each["latency_ms"] for each in models if each.get("latency_ms")]
    speed = f"  {max(latencies):.0f} ms" if latencies else ""
    return f"  {_clean(one['name']):12} {paint(state, colour)}  {one['dialect']}{flight}{speed}"


def _call(one: dict[str, Any], paint: Paint) -> str:
    colour = "green" if one["end"] == "finished" else "red"
    where = "/".join(filter(None, (one["provider"], one["model"]))) or "-"
    cost = "-" if one["cost_usd"] is None else f"${one['cost_usd']:.5f}"
    ended = paint(f"{one['status']:3}", colour)
    return (
        f"  {one['time'][11:19]} {ended} {cost:>9} {one['total_ms']:6.0f}ms "
        f"{_clean(one['rule'] or '-'):12} {_clean(where)}"
    )


def _span(seconds: float) -> str:
    whole = int(seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def _clean(text: object) -> str:
    """What a caller named must not steer the terminal."""
    plain = str(text)
    return plain if plain.isprintable() else plain.encode("unicode_escape").decode("ascii")
