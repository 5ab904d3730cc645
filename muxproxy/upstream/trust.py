"""TLS contexts: the system's trust store plus a provider's own CA, built once and off the loop."""

import asyncio
import os
import ssl


class Trust:
    """Contexts by (CA file and its version, verification)."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str | None, int, bool], ssl.SSLContext] = {}

    async def context(self, ca: str | None, verify: bool) -> ssl.SSLContext:
        """A client context with ALPN http/1.1. Raises OSError or ssl.SSLError for a bad CA file."""
        # The file's time is in the key, so that a renewed CA counts without a restart.
        key = (ca, os.stat(ca).st_mtime_ns if ca else 0, verify)
        context = self._contexts.get(key)
        if context is None:
            # Reading the system's store takes tens of milliseconds: not on the loop.
            loop = asyncio.get_running_loop()
            context = await loop.run_in_executor(None, _build, ca, verify)
            self._contexts[key] = context
        return context


def _build(ca: str | None, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(cafile=ca)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
