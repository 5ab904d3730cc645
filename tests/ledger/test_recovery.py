"""What a crash leaves behind is settled by the next start, once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from muxproxy.exchange import Usage
from muxproxy.ledger.reports import Reader
from tests.ledger.books import hold, receipt, spends, table, wait
from tests.ledger.conftest import Open

# Tells on stdout, unbuffered, what the ledger has promised: H id once a hold's future resolved,
# S id when a receipt was handed over.
_CHILD = """
import asyncio, os, sys
from tests.ledger.books import hold, receipt, spends
from muxproxy.ledger import Ledger

def tell(word, id):
    os.write(1, f"{word} {id}\\n".encode())

async def worker(ledger, turns):
    for turn in turns:
        id = ledger.next_id()
        await ledger.hold(hold(id, nano=100))
        tell("H", id)
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        ledger.settle(receipt(id, cost=60), spends(60, 10))
        tell("S", id)

async def main():
    ledger = Ledger(sys.argv[1], sys.argv[2])
    tell("UP", 0)
    await asyncio.gather(*(worker(ledger, range(n, 10**9)) for n in range(8)))

asyncio.run(main())
"""


def _run_and_kill(path: Path, durability: str, lines: int) -> tuple[set[int], set[int]]:
    """Ids held and settled as told by a child killed after so many lines."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), durability],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    told: list[bytes] = [child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    told += child.stdout.read().splitlines(keepends=True)
    child.stdout.close()
    assert child.wait(10) == -signal.SIGKILL
    words = [line.split() for line in told if line.endswith(b"\n")]
    return (
        {int(id) for word, id in words if word == b"H"},
        {int(id) for word, id in words if word == b"S"},
    )


@pytest.mark.parametrize("durability", ["strict", "power"])
async def test_kill_9_at_random_points(open_ledger: Open, tmp_path: Path, durability: str) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    held: set[int] = set()
    settled: set[int] = set()
    for _ in range(10 if durability == "strict" else 3):
        h, s = _run_and_kill(tmp_path / "books.db", durability, chance.randrange(2, 400))
        held |= h
        settled |= s
        ledger = open_ledger()
        await ledger.aclose()
        rows = dict(table(tmp_path / "books.db", "SELECT id, cost FROM calls"))
        assert table(tmp_path / "books.db", "SELECT count(*) FROM holds") == [(0,)]
        assert held <= rows.keys()  # every promised hold has its row
        assert {rows[id] for id in held - settled} <= {60, 100}
        spent = {row[0] for row in table(tmp_path / "books.db", "SELECT nano FROM usage")}
        assert spent == ({sum(rows.values())} if rows else set())  # nothing twice, nothing lost
    again = open_ledger()
    assert again.recovered == 0


async def test_an_orphan_becomes_an_estimated_error_with_its_spends(
    open_ledger: Open, tmp_path: Path
) -> None:
    ledger = open_ledger()
    odd = 'a|b"\n|c'
    known, unknown, settled = (ledger.next_id() for _ in range(3))
    await wait(ledger.hold(hold(known, 100, scopes=(f"daily|{odd}|1700000000", "junk", "x|y|z"))))
    await wait(ledger.hold(hold(unknown, None, scopes=("hard|*|0",))))
    await wait(ledger.hold(hold(settled)))
    ledger.settle(receipt(settled, 60), spends(60), held=False)
    await ledger.aclose()  # an orderly end leaves holds that nobody settled as a crash does

    ledger = open_ledger()
    assert ledger.recovered == 2  # the third one has a row: it is only closed
    found = ledger.find(known)
    assert found is not None
    assert (found.end, found.code, found.usage_source) == ("error", "crashed", "estimated")
    assert (found.cost, found.held, found.attempts) == (100, 100, 1)
    assert found.usage == Usage(input=7, output=3)
    assert (found.caller, found.provider, found.model) == ("alice", "openai", "gpt-4o")
    other = ledger.find(unknown)
    assert other is not None
    assert other.cost is None  # an unknown price stays unknown
    assert sorted(ledger.usage_rows(), key=lambda row: (row[0], row[3])) == [
        ("daily", "alice", 1700000000, 60, 10),
        ("daily", odd, 1700000000, 100, 10),
        ("hard", "*", 0, 60, 20),
    ]
    await ledger.aclose()
    with Reader(str(tmp_path / "books.db")) as reader:
        assert reader.holds() == []
