"""Names to addresses: one lookup at a time per name, answers kept for a while."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

AddrInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
Lookup = Callable[[str, int], Awaitable[Sequence[AddrInfo]]]

TTL = 60.0  # seconds; getaddrinfo does not tell the record's own
NEGATIVE_TTL = 1.5  # long enough to spare a storm of look-ups, short enough not to be noticed
_MAX_ENTRIES = 1024


class Resolver:
    """A cache before getaddrinfo. Raises what the look-up raises (socket.gaierror)."""

    def __init__(
        self,
        lookup: Lookup | None = None,
        *,
        ttl: float = TTL,
        negative_ttl: float = NEGATIVE_TTL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup = lookup or _getaddrinfo
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._clock = clock
        self._known: dict[tuple[str, int], tuple[float, Sequence[AddrInfo] | OSError]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[Sequence[AddrInfo]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[AddrInfo]:
        """The addresses, in the system's order, never empty."""
        key = (host, port)
        known = self._known.get(key)
        if known is not None:
            if self._clock() < known[0]:
                answer = known[1]
                if isinstance(answer, OSError):
                    raise type(answer)(*answer.args)  # fresh: a shared one would gather tracebacks
                return answer
            del self._known[key]
        task = self._asking.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(key))
            self._asking[key] = task
            task.add_done_callback(_retrieve)
        # One waiter's cancellation must not end the look-up of the others.
        return await asyncio.shield(task)

    def forget(self, host: str, port: int) -> None:
        """Drop an answer whose addresses do not work (the service may have moved)."""
        self._known.pop((host, port), None)

    async def aclose(self) -> None:
        """Cancel look-ups under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: tuple[str, int]) -> Sequence[AddrInfo]:
        try:
            infos = await self._lookup(*key)
            if not infos:
                raise socket.gaierror(socket.EAI_NONAME, "no address")
            self._keep(key, self._ttl, infos)
            return infos
        except OSError as error:
            self._keep(key, self._negative_ttl, error)
            raise
        finally:
            self._asking.pop(key, None)

    def _keep(self, key: tuple[str, int], ttl: float, answer: Sequence[AddrInfo] | OSError) -> None:
        now = self._clock()
        if len(self._known) >= _MAX_ENTRIES:
            self._known = {k: v for k, v in self._known.items() if v[0] > now}
            if len(self._known) >= _MAX_ENTRIES:
                self._known.clear()
        self._known[key] = (now + ttl, answer)


async def _getaddrinfo(host: str, port: int) -> Sequence[AddrInfo]:
    infos: Sequence[AddrInfo] = await asyncio.get_running_loop().getaddrinfo(  # type: ignore[assignment]
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    return infos


def _retrieve(task: "asyncio.Task[Sequence[AddrInfo]]") -> None:
    # When every waiter has left nobody else looks at the error.
    if not task.cancelled():
        task.exception()
