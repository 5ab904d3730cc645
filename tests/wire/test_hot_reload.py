"""The file is edited while calls run: by every kind of editor, well and badly."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from muxproxy.watching import Watcher
from tests.stack import Stack, stack

PATH = "/v1/chat/completions"
ASK = {"model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
RULE = "rules: [{{name: {0}, when: {{model: gpt-4o}}, to: openai/gpt-4o-mini}}]\n"


def text(pair: Stack, name: str, more: str = "") -> str:
    """The stack's file with one rule of that name."""
    head = (pair.state.parent / "head.yaml").read_text()
    return head + RULE.format(name) + more


async def rule(pair: Stack) -> str:
    """The rule that a call meets now."""
    answer = await pair.post(PATH, ASK)
    assert answer.status == 200, answer.body
    return answer.headers["x-muxproxy-rule"]


@asynccontextmanager
async def running(tmp_path: Path, more: str = "") -> AsyncIterator[Stack]:
    async with stack(tmp_path, RULE.format("first") + more) as pair:
        whole = (tmp_path / "muxproxy.yaml").read_text()
        (tmp_path / "head.yaml").write_text(whole.partition("rules:")[0])
        yield pair


async def until(check: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


def in_place(path: Path, content: str) -> None:
    path.write_text(content)


def rename(path: Path, content: str) -> None:
    other = path.with_suffix(".tmp")
    other.write_text(content)
    os.replace(other, path)


def remove_first(path: Path, content: str) -> None:
    path.unlink()
    path.write_text(content)


async def test_an_edit_is_taken_however_it_is_written(tmp_path: Path) -> None:
    async with running(tmp_path) as pair:
        runtime, path = pair.runtime, tmp_path / "muxproxy.yaml"
        watcher = Watcher(runtime)
        for number, write in enumerate((in_place, rename, remove_first, in_place), 1):
            write(path, text(pair, f"edit-{number}"))
            await until(lambda n=number: runtime.config.rules[0].name == f"edit-{n}")
            assert await rule(pair) == f"edit-{number}"
        rename(path, text(pair, "bad", "rulez: []\n"))
        await until(lambda: runtime.standing.error is not None)
        assert await rule(pair) == "edit-4"
        detail = (await pair.get("/ready")).json()
        assert detail["status"] == "ready"
        assert "unknown key rulez (did you mean rules?)" in detail["reload_error"]
        metrics = (await pair.get("/metrics")).body.decode()
        assert "muxproxy_config_current 0.0" in metrics
        # An included file counts from the moment it is named, and may come later.
        rename(path, text(pair, "with", "include: [more/*.yaml, limits.yaml]\n"))
        await until(lambda: "limits.yaml" in (runtime.standing.error or ""))
        (tmp_path / "limits.yaml").write_text("limits: [{name: fair, requests: 9/min}]\n")
        await until(lambda: [x.name for x in runtime.config.limits] == ["fair"])
        assert runtime.standing.error is None
        assert "muxproxy_config_current 1.0" in (await pair.get("/metrics")).body.decode()
        await watcher.aclose()


async def test_a_config_map_is_followed_when_its_link_moves(tmp_path: Path) -> None:
    async with running(tmp_path) as pair:
        runtime, path = pair.runtime, tmp_path / "muxproxy.yaml"
        mount = tmp_path / "mount"
        for version in ("one", "two"):
            (mount / f"..{version}").mkdir(parents=True)
            (mount / f"..{version}" / "muxproxy.yaml").write_text(text(pair, version))
        (mount / "..data").symlink_to("..one")
        (mount / "muxproxy.yaml").symlink_to("..data/muxproxy.yaml")
        path.unlink()
        path.symlink_to("mount/muxproxy.yaml")
        await runtime.reload()
        assert await rule(pair) == "one"
        watcher = Watcher(runtime)
        (mount / "..next").symlink_to("..two")
        os.replace(mount / "..next", mount / "..data")
        shutil.rmtree(mount / "..one")
        await until(lambda: runtime.config.rules[0].name == "two")
        assert await rule(pair) == "two"
        await watcher.aclose()


async def test_calls_go_on_while_a_configuration_is_built(tmp_path: Path) -> None:
    """The new file includes a pipe: the building thread stands still until somebody writes."""
    async with running(tmp_path) as pair:
        os.mkfifo(tmp_path / "pipe.yaml")
        path = tmp_path / "muxproxy.yaml"
        in_place(path, text(pair, "second", "include: pipe.yaml\n"))
        reload = asyncio.create_task(pair.runtime.reload())
        for _ in range(5):
            assert await rule(pair) == "first"
        assert not reload.done()
        writing = asyncio.to_thread((tmp_path / "pipe.yaml").write_text, "hosts: [x.test]\n")
        await asyncio.gather(writing, reload)
        assert await rule(pair) == "second"
        assert pair.runtime.config.hosts == ["x.test"]


async def test_changes_that_need_a_restart_are_named_and_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as pair:
        path = tmp_path / "muxproxy.yaml"
        changed = text(pair, "second", "admin: 127.0.0.1:9\nserver: {max_connections: 5}\n")
        in_place(path, changed.replace("listen: 127.0.0.1:0", "listen: 127.0.0.1:4"))
        await pair.runtime.reload()
        assert await rule(pair) == "second"
        assert (await pair.get("/ready")).json()["restart_needed"] == ["listen", "admin", "server"]
        assert "listen, admin, server changed: that takes effect after a restart" in caplog.text
        assert pair.runtime.config.listen == "127.0.0.1:0"
        in_place(path, text(pair, "third", "keys: [{name: a, value: b}]\n"))
        await pair.runtime.reload()
        assert "restart_needed" not in (await pair.get("/ready")).json()
        assert "keys are not checked while auth.mode is open" in caplog.text
        assert len((await pair.get("/v1/status")).json()["config"]["warnings"]) == 1


BROKEN: tuple[Callable[[str], bytes | None], ...] = (
    lambda good: b"",
    lambda good: None,  # the file is gone
    lambda good: b"# only words\n",
    lambda good: good.encode() + b"rulez: []\n",
    lambda good: good[: good.index("rules:") + 20].encode(),
    lambda good: b"\xff\xfe" + good.encode(),
    lambda good: good.replace("gpt-4o}", "gpt-4o, hour: never}").encode(),
    lambda good: good.encode() + b"include: [nowhere.yaml]\n",
)


async def test_two_hundred_edits_under_load(tmp_path: Path) -> None:
    """Each call is answered by a configuration that was good at some time while it ran; what is
    spent, learned and pooled stays; no call fails."""
    chance = random.Random(7)
    budget = "budgets: [{name: all, limit: $100, window: month}]\n"
    async with running(tmp_path, budget) as pair:
        runtime, path = pair.runtime, tmp_path / "muxproxy.yaml"
        good = [0]  # numbers of the good edits so far
        taken = [0]  # the last of `good` that is certainly in force
        stop, answered = asyncio.Event(), [0]

        async def caller() -> None:
            while not stop.is_set():
                before = taken[0]
                name = await rule(pair)
                number = 0 if name == "first" else int(name)
                assert number in good[before:], (number, good[before:])
                answered[0] += 1

        callers = [asyncio.create_task(caller()) for _ in range(4)]
        for number in range(1, 201):
            content = text(pair, f'"{number}"', budget)
            broken = chance.random() < 0.5
            if broken:
                bad = chance.choice(BROKEN)(content)
                path.unlink(missing_ok=True)
                if bad is not None:
                    path.write_bytes(bad)
            else:
                good.append(number)
                chance.choice((in_place, rename))(path, content)
            await runtime.reload_or_log()
            taken[0] = len(good) - 1
            enough = answered[0] + 3
            await until(lambda: answered[0] >= enough or any(c.done() for c in callers))  # noqa: B023
            assert (runtime.standing.error is not None) is broken, content
            in_force = "first" if good[-1] == 0 else str(good[-1])
            assert runtime.config.rules[0].name == in_force
        stop.set()
        await asyncio.gather(*callers)
        receipts = await pair.settled(answered[0])
        assert len(receipts) == answered[0] >= 600
        (row,) = runtime.budgets()
        assert row["spent"] == pytest.approx(sum(r.cost or 0 for r in receipts) / 1e9)
        assert row["held"] == 0
        assert runtime.proxy.budgets.outputs.p95("gpt-4o-mini") is not None
        assert {p["in_flight"] for p in runtime.pools().values()} == {0}
        assert sum(p["connects_total"] for p in runtime.pools().values()) <= 4
        assert runtime.metrics.reloads == len(good) - 1
        assert runtime.metrics.reload_failures == 200 - runtime.metrics.reloads
