"""A bounded, even sample of a text."""

from __future__ import annotations

SAMPLE = 8 * 1024  # characters kept; beyond it every second block goes
FOLD = 64  # pieces to be joined into one block: a short str costs 50 bytes beside its text
LONG = 256  # characters of a piece that completes a block


class Sample:
    """Give it every block in order; `blocks` are at most about SAMPLE characters of them."""

    __slots__ = ("_kept", "_stride", "_turn", "blocks")

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._kept = 0
        self._stride = 1
        self._turn = 0

    def add(self, block: str) -> None:
        """The next block of the text."""
        self._turn += 1
        if self._turn % self._stride:
            return
        blocks = self.blocks
        blocks.append(block[:SAMPLE])
        self._kept += len(blocks[-1])
        while self._kept > SAMPLE and len(blocks) > 1:
            del blocks[::2]
            self._stride *= 2
            self._kept = sum(map(len, blocks))
