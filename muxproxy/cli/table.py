"""Plain tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def render(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as they need to be; numbers to the right, text to the left."""
    lines = [[_cell(value) for value in row] for row in rows]
    numeric = [all(_is_number(line[i]) for line in lines) and bool(lines) for i in range(len(head))]
    widths = [max([len(name), *(len(line[i]) for line in lines)]) for i, name in enumerate(head)]
    out = []
    for line in [list(head), *lines]:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _is_number(text: str) -> bool:
    return text == "-" or text.lstrip("$-").replace(".", "", 1).replace(",", "").isdigit()
