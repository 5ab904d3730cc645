"""What a run cost, told at its end."""

from __future__ import annotations

from collections import Counter

from muxproxy.config import units
from muxproxy.exchange import REFUSED, Receipt
from muxproxy.ledger.queries import Filters
from muxproxy.ledger.reports import Reader
from muxproxy.money import show

_MOST_CALLS = 1_000_000
_MOST_MODELS = 5


def of_run(state: str, run: str, budget: str | None) -> str:
    """A few lines for stderr. Raises LedgerError."""
    with Reader(state) as reader:
        calls = reader.calls(Filters(run=run), _MOST_CALLS)
    return "\n".join(f"muxproxy: {line}" for line in _lines(calls, budget))


def _lines(calls: list[Receipt], budget: str | None) -> list[str]:
    sent = [call for call in calls if call.end != REFUSED]
    refused = Counter(call.code or "refused" for call in calls if call.end == REFUSED)
    cost = sum(call.cost or 0 for call in sent)
    unknown = sum(1 for call in sent if call.cost is None)
    usages = [call.usage for call in sent if call.usage is not None]
    spent = f"{show(cost)} spent"
    if budget is not None:
        ceiling = units.amount(budget)
        spent += f" of {show(ceiling.value) if ceiling.unit == 'usd' else budget}"
    lines = [
        f"{spent} in {len(sent)} call{'' if len(sent) == 1 else 's'}, "
        f"{sum(u.input_total for u in usages):,} tokens in, "
        f"{sum(u.output_total for u in usages):,} out"
    ]
    models = Counter("/".join(filter(None, (c.provider, c.model))) for c in sent)
    for name, count in models.most_common(_MOST_MODELS):
        part = sum(c.cost or 0 for c in sent if f"{c.provider}/{c.model}" == name)
        lines.append(f"  {name}: {count} for {show(part)}")
    if unknown:
        lines.append(f"  {unknown} of unknown price, not in the sum")
    if refused:
        told = ", ".join(f"{count} {code}" for code, count in refused.most_common())
        lines.append(f"  refused: {told}")
    return lines
