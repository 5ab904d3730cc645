"""Shell patterns (`*`, `?`, `[...]`), case-sensitive, over whole names; `*` also covers `/`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=4096)
def glob(pattern: str) -> Callable[[str], object]:
    """A predicate: truthy when the whole name matches. A pure function, so it may be cached."""
    if not any(c in pattern for c in "*?["):
        return pattern.__eq__
    head, star, tail = pattern.partition("*")
    if star and not tail and not any(c in head for c in "?["):
        return lambda name: name.startswith(head)
    return re.compile(fnmatch.translate(pattern)).match
