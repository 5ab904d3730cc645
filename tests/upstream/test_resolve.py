"""The DNS cache: one look-up at a time, kept for a while, failures for a moment."""

import asyncio
import socket

import pytest

from muxproxy.upstream import Resolver

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]


class Dns:
    """A look-up that counts, and waits for `go`."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()
        self.now = 100.0

    async def __call__(self, host: str, port: int):
        self.asked += 1
        await self.go.wait()
        outcome = self.outcomes[min(self.asked, len(self.outcomes)) - 1]
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def resolver(self) -> Resolver:
        return Resolver(self, ttl=60, negative_ttl=2, clock=lambda: self.now)


async def test_an_answer_is_kept_until_its_time_is_over() -> None:
    dns = Dns(ANSWER)
    resolver = dns.resolver()
    for now, asked in [(100, 1), (159, 1), (160, 2)]:
        dns.now = now
        assert await resolver.resolve("a", 443) == ANSWER
        assert dns.asked == asked
    await resolver.resolve("a", 80)
    await resolver.resolve("b", 443)
    assert dns.asked == 4


async def test_a_failure_is_kept_for_a_moment() -> None:
    dns = Dns(socket.gaierror(socket.EAI_NONAME, "no"), ANSWER)
    resolver = dns.resolver()
    for now in (100, 101):
        dns.now = now
        with pytest.raises(socket.gaierror):
            await resolver.resolve("a", 443)
    assert dns.asked == 1
    dns.now = 102
    assert await resolver.resolve("a", 443) == ANSWER


async def test_no_address_is_a_failure() -> None:
    with pytest.raises(socket.gaierror):
        await Dns([]).resolver().resolve("a", 1)


async def test_askers_share_one_look_up_and_may_leave() -> None:
    dns = Dns(ANSWER)
    dns.go.clear()
    resolver = dns.resolver()
    tasks = [asyncio.create_task(resolver.resolve("a", 443)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    dns.go.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [ANSWER] * 4 and dns.asked == 1


async def test_forgetting_asks_again() -> None:
    dns = Dns(ANSWER)
    resolver = dns.resolver()
    await resolver.resolve("a", 443)
    resolver.forget("a", 443)
    await resolver.resolve("a", 443)
    assert dns.asked == 2


async def test_closing_ends_look_ups() -> None:
    dns = Dns(ANSWER)
    dns.go.clear()
    resolver = dns.resolver()
    task = asyncio.create_task(resolver.resolve("a", 443))
    await asyncio.sleep(0)
    await resolver.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_cache_is_bounded() -> None:
    dns = Dns(ANSWER)
    resolver = dns.resolver()
    for number in range(3000):
        await resolver.resolve(f"h{number}", 1)
    assert len(resolver._known) <= 1024


async def test_the_system_resolves_localhost() -> None:
    infos = await Resolver().resolve("127.0.0.1", 80)
    assert infos[0][4][:2] == ("127.0.0.1", 80)
