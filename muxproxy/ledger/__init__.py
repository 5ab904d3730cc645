"""The books: one SQLite file, one writer, any number of readers.

`store.Ledger` is the writer (one per file, on the event loop's own thread); `reports` and `costs`
are the read side, for the control plane and for other processes. docs/ledger.md has the schema
and says what each failure does.
"""

from muxproxy.ledger.failures import LedgerError
from muxproxy.ledger.store import Ledger

__all__ = ["Ledger", "LedgerError"]
