"""Learning from traffic over sockets: what is kept of a call, what is explored, what is trained."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muxproxy.cli import main
from muxproxy.ledger.lessons import Lesson, labelled
from muxproxy.ledger.reports import Reader
from muxproxy.proxy.learning import draw
from muxproxy.routing import features, judgement, packing
from tests.http_client import Answer
from tests.stack import ID, Stack, stack
from tests.wire.balance import balanced, nothing_left

PROVIDERS = """
  one: {dialect: openai, base_url: "SIM/v1", api_key: k1}
  two: {dialect: openai, base_url: "SIM/v1", api_key: k2}
"""
# Never strong by its score, so that every call is cheap-routed.
CHEAP = "cheap: one/mini, strong: two/large, threshold: 1.0"
YAML = f"""
models:
  all: {{strategy: semantic, {CHEAP}, learn: features, explore: 100%}}
  none: {{strategy: semantic, {CHEAP}, learn: features}}
  off: {{strategy: cascade, {CHEAP}}}
  judged: {{strategy: cascade, {CHEAP}, learn: features}}
  early: {{strategy: cascade, {CHEAP}, learn: features, hold: 20}}
  words: {{strategy: cascade, {CHEAP}, learn: text}}
  twice: {{strategy: cascade, {CHEAP}, learn: features, agree: one/second}}
  rated: {{strategy: cascade, {CHEAP}, learn: features, judge: one/rater}}
  weighed: {{strategy: cascade, {CHEAP}, learn: features, judge: one/rater, explore: 100%}}
  up: {{strategy: semantic, cheap: one/mini, strong: two/large, threshold: 0.0, learn: features,
        explore: 1.0}}
prices:
  one/*: {{input: 1, output: 1}}
  two/*: {{input: 100, output: 100}}
budgets: [{{name: all, limit: $100}}]
"""
SORRY = "I'm sorry, but I cannot help with that."
SECRET = "Tell me about the sesamewhisker, please."


async def ask(proxy: Stack, model: str, text: str = "hi", **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50}
    answer = await proxy.post("/v1/chat/completions", {**body, **more})
    assert answer.status == 200, answer.body
    return answer


def lessons(proxy: Stack) -> list[Lesson]:
    """Those with a label, oldest first."""
    with Reader(str(proxy.state)) as reader:
        return reader.ask(labelled(0, None, 10_000))[::-1]


async def test_an_explored_call_is_judged_and_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        kept = await ask(proxy, "all")
        assert kept.headers["x-muxproxy-cascade"] == "one/mini: kept"
        proxy.sim.script(text=SORRY, model="mini")
        proxy.sim.script(text="Strong.", model="large")
        sent_on = await ask(proxy, "all", "another")
        assert b"Strong." in sent_on.body and b"sorry" not in sent_on.body
        receipts = await balanced(proxy, 3)
        assert [r.explored for r in receipts] == [True] * 3
        assert all(r.cost and "explored, as 100 % of such calls are" in r.reason for r in receipts)
        first, second = lessons(proxy)
        assert (first.side, first.enough, first.share) == ("cheap", True, 1.0)
        assert (first.cheap_nano, first.strong_nano) == (receipts[0].cost, None)
        assert (second.side, second.enough) == ("strong", False)
        assert (second.cheap_nano, second.strong_nano) == (receipts[1].cost, receipts[2].cost)
        assert format(second.id, "016x") == sent_on.headers[ID]
        page = (await proxy.get("/metrics")).body.decode()
        assert 'muxproxy_explored_total{outcome="kept"} 1.0' in page
        assert 'muxproxy_explored_total{outcome="sent on"} 1.0' in page
        assert 'muxproxy_lessons_total{outcome="kept"} 2.0' in page
        shown = (await proxy.get(f"/v1/calls/{sent_on.headers[ID]}")).json()
        assert shown["explored"] is True
        rating = {"id": sent_on.headers[ID], "score": 0.5}
        assert (await proxy.post("/v1/feedback", rating)).status == 200
    config = str(tmp_path / "muxproxy.yaml")
    assert main(["calls", "--config", config]) == 0
    assert "finished, explored, rated 0.5" in capsys.readouterr().out
    explained = ["explain", sent_on.headers[ID], "--config", config]
    assert await asyncio.to_thread(main, explained) == 0
    assert "ended: finished with 200, explored, rated 0.5" in capsys.readouterr().out


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_explored_is_not_judged(tmp_path: Path, stream: bool) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text=SORRY, model="mini")
        answer = await ask(proxy, "none", stream=stream)
        assert b"sorry" in answer.body and "x-muxproxy-cascade" not in answer.headers
        strong = await ask(proxy, "up")  # a strong-routed call has no cheap answer to judge
        assert strong.headers["x-muxproxy-model"] == "large"
        assert not any(r.explored for r in await proxy.settled(2))
        assert lessons(proxy) == []


async def test_what_failed_teaches_nothing(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(status=503, model="mini")
        proxy.sim.script(text="Strong.", model="large")
        await ask(proxy, "all")
        assert all(r.explored for r in await balanced(proxy, 2))
        assert lessons(proxy) == []
        page = (await proxy.get("/metrics")).body.decode()
        assert 'muxproxy_explored_total{outcome="not judged"} 1.0' in page


CASES: list[tuple[str, dict[str, Any], dict[str, Any] | None, bool | None]] = [
    ("judged", {"text": "Paris."}, None, True),
    ("judged", {"text": SORRY}, None, False),
    ("twice", {"text": "42"}, {"text": "It is 42"}, True),
    ("twice", {"text": "42"}, {"text": "41"}, False),
    ("twice", {"text": "42"}, {"status": 503}, None),
    ("rated", {"text": "Paris."}, {"text": "9"}, True),
    ("rated", {"text": "Paris."}, {"text": "1"}, None),  # nobody rated the strong answer
    ("rated", {"text": "Paris."}, {"text": "no idea"}, None),
    ("off", {"text": "Paris."}, None, None),
]


@pytest.mark.parametrize(("model", "mini", "other", "enough"), CASES)
async def test_the_judges_verdict_is_the_label(
    tmp_path: Path,
    model: str,
    mini: dict[str, Any],
    other: dict[str, Any] | None,
    enough: bool | None,
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(mini, model="mini")
        for name in ("second", "rater"):
            proxy.sim.script(other or {"text": "x"}, model=name)
        proxy.sim.script(text="Strong.", model="large")
        answer = await ask(proxy, model)
        await proxy.settled(1)
        found = lessons(proxy)
        assert [one.enough for one in found] == ([] if enough is None else [enough])
        assert all(format(one.id, "016x") == answer.headers[ID] for one in found)
        assert all(one.cheap_nano for one in found)


STRONG: list[tuple[dict[str, Any], str, str, bool | None]] = [
    ({"text": "Berlin."}, "1", "9", True),
    ({"text": "Berlin."}, "1", "2", False),  # as bad by the judge
    ({"text": "Berlin."}, "1", "no idea", None),
    ({"text": "Paris."}, "1", "9", False),  # the very same
    ({"text": SORRY}, "1", "9", False),  # a fault that costs nothing to see
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("large", "first", "second", "better"), STRONG)
async def test_the_strong_answer_is_rated_too_before_it_goes_out(
    tmp_path: Path,
    large: dict[str, Any],
    first: str,
    second: str,
    better: bool | None,
    stream: bool,
) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        proxy.sim.script(text=first, model="rater")
        proxy.sim.script(text=second, model="rater")
        proxy.sim.script(large, model="large")
        answer = await ask(proxy, "weighed", stream=stream)
        assert large["text"].split()[0].encode() in answer.body
        assert answer.headers["x-muxproxy-model"] == "large"
        receipts = await balanced(proxy, 4)
        assert {r.model for r in receipts} == {"mini", "rater", "large"}
        assert all(r.cost for r in receipts) and not any(r.explored for r in receipts)
        found = lessons(proxy)
        assert [one.better for one in found] == ([] if better is None else [better])
        assert all((one.enough, one.share, one.side) == (False, 1.0, "strong") for one in found)


@pytest.mark.parametrize(("large", "better"), [("It is 4.", False), ("It is 5.", True)])
async def test_a_strong_answer_that_says_the_same_was_not_worth_it(
    tmp_path: Path, large: str, better: bool
) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="It may be 4, but I am not sure.", model="mini")
        proxy.sim.script(text=large, model="large")
        await ask(proxy, "judged")
        await proxy.settled(2)
        (found,) = lessons(proxy)
        assert (found.enough, found.better, found.share) == (False, better, None)


async def test_a_rating_of_the_strong_answer_makes_up_for_a_judge(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        proxy.sim.script(text="1", model="rater")
        id = (await ask(proxy, "rated")).headers[ID]
        await proxy.receipt(id)
        assert lessons(proxy) == []
        assert (await proxy.post("/v1/feedback", {"id": id, "score": 0.9})).status == 200
        await proxy.settled(3)
        assert [(one.enough, one.feedback) for one in lessons(proxy)] == [(False, 0.9)]


async def test_the_strong_model_may_fail_while_its_answer_is_waited_for(tmp_path: Path) -> None:
    async with nothing_left(), stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        proxy.sim.script(text="1", model="rater")
        proxy.sim.script(status=500, model="large", times=None)
        answer = await ask(proxy, "weighed")
        assert b"Paris." in answer.body
        assert lessons(proxy) == []
        await balanced(proxy, 3)


@pytest.mark.parametrize(("bar", "count"), [(0.5, 1), (0.3, 0), (0.9, 0)])
async def test_a_callers_own_bar_is_no_label_for_others(
    tmp_path: Path, bar: float, count: int
) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="Paris.", model="mini")
        body = {
            "model": "judged",
            "messages": [{"role": "user", "content": "hi"}],
            "cascade_config": {"quality_threshold": bar},
        }
        answer = await proxy.post("/v1/chat/completions/enhanced", body)
        assert answer.status == 200 and b"Paris." in answer.body
        await proxy.settled(1)
        assert len(lessons(proxy)) == count


async def test_an_answer_let_go_by_its_beginning_teaches_nothing(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        proxy.sim.script(text="word " * 40, model="mini")
        answer = await ask(proxy, "early", stream=True)
        assert answer.headers["x-muxproxy-cascade"] == "kept by its beginning"
        await proxy.settled(1)
        assert lessons(proxy) == []


async def test_the_callers_word_is_a_label_for_a_cheap_answer(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        for model in ("none", "up"):
            id = (await ask(proxy, model, model)).headers[ID]
            await proxy.receipt(id)
            assert (await proxy.post("/v1/feedback", {"id": id, "score": 0.2})).status == 200
        await proxy.settled(2)
        (found,) = lessons(proxy)
        assert (found.alias, found.side, found.enough, found.feedback) == (
            "none", "cheap", None, 0.2,
        )  # fmt: skip


def stored(folder: Path) -> bytes:
    """All bytes of the ledger's files."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("books.db*")))


async def test_no_text_is_in_the_books_unless_asked_for(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        for model in ("judged", "all", "off", "none"):
            await ask(proxy, model, SECRET)
        await proxy.settled(4)
        assert len(lessons(proxy)) == 2
        for word in (b"sesame", b"whisker", b"Tell me"):
            assert word not in stored(tmp_path)
        await ask(proxy, "words", SECRET)
        await proxy.settled(5)
        assert SECRET.encode() in stored(tmp_path)
        last = lessons(proxy)[-1]
        assert last.text == SECRET
    assert SECRET.encode() in stored(tmp_path)


async def test_features_come_back_as_they_were(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await ask(proxy, "judged", SECRET)
        await proxy.settled(1)
        found = packing.unpack(lessons(proxy)[0].features)
        again = features.read(SECRET, packing.BITS)
        assert found.words == sorted(again.words) and found.shape == sorted(again.shape)
        assert found.form == again.form


async def test_explain_tells_of_exploring_and_draws_nothing(tmp_path: Path) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        body = {"messages": [{"role": "user", "content": "hi"}]}
        for model, share in (("all", 1.0), ("none", 0.0), ("up", 0.0), ("judged", 0.0)):
            asked = {"path": "/v1/chat/completions", "body": {"model": model, **body}}
            told = (await proxy.post("/v1/explain", asked)).json()
            assert told["plan"]["explore"] == share, model
        assert lessons(proxy) == []


def test_the_draw_is_by_call_and_even() -> None:
    ids = range(1 << 50, (1 << 50) + 4000)
    one, other = [[draw(seed, id) for id in ids] for seed in (b"a", b"b")]
    assert one == [draw(b"a", id) for id in ids] != other
    for drawn in (one, other):
        assert 0.17 < sum(value < 0.2 for value in drawn) / len(drawn) < 0.23


# -- training --------------------------------------------------------------------------------


NAMES = [
    first + last
    for first in ("ba", "do", "ki", "lu", "mo", "ne", "pi", "ra", "su", "ta")
    for last in ("ben", "dor", "kim", "lan", "mus", "nor", "pel", "rin", "sol", "tam")
]


def topic(n: int) -> str:
    """Different prompts for different n: the digits of a number all look alike."""
    told = "zebra" if n % 2 else "tulip"
    return f"Please tell {NAMES[n % 100]} {NAMES[n // 100]} about the {told} in plain words."


async def traffic(proxy: Stack, model: str, rows: int, hard: Callable[[int], bool]) -> None:
    """Calls of which the cheap model refuses the hard ones."""
    for n in range(rows):
        proxy.sim.script(text=SORRY if hard(n) else "Here you are.", model="mini")
        if hard(n):
            proxy.sim.script(text="Strong.", model="large")
        await ask(proxy, model, topic(n))


def train(tmp_path: Path, *more: str) -> tuple[int, Path]:
    out = tmp_path / "router.mux"
    books = str(tmp_path / "books.db")
    return main(["train", "--from-ledger", "--state", books, "--out", str(out), *more]), out


async def test_a_pattern_in_the_traffic_is_learned_and_changes_the_routing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml = YAML.replace("threshold: 1.0, learn: features, explore: 100%", "learn: features")
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await traffic(proxy, "all", 240, lambda n: n % 2 == 1)
        await proxy.settled(360)
    code, out = train(tmp_path, "--alias", "all", "--since", "1h")
    told = capsys.readouterr()
    assert code == 0, told
    assert (
        "240 labels of 240 prompts: 240 judged (240 of them explored)" in told.out
        and "random" in told.out
    )
    header = judgement.weights_at(str(out)).header
    assert header.training["source"] == "ledger" and header.training["alias"] == "all"
    assert header.training["held_out_apgr"][1] > 0.5  # type: ignore[index]
    assert header.threshold is not None
    capsys.readouterr()
    for n in range(1000, 1010):
        assert main(["route", topic(n), "--weights", str(out), "--json"]) == 0
        row = json.loads(capsys.readouterr().out)
        assert (row["choice"] == "strong") == (row["score"] >= header.threshold)
    # The trained file, with the threshold that stands in it.
    async with stack(
        tmp_path, f"routing: {{weights: {out}}}\n{yaml}", providers=PROVIDERS
    ) as proxy:
        went = [(await ask(proxy, "all", topic(n))).headers["x-muxproxy-model"]
                for n in range(1000, 1020)]  # fmt: skip
        # The threshold leaves 95 % of the quality: it may miss a zebra, and wastes nothing.
        assert went[::2] == ["mini"] * 10 and went[1::2].count("large") >= 6


async def test_noise_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(20)  # of some seeds, by chance, the interval lies above dice
    hard = [dice.random() < 0.5 for _ in range(160)]
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await traffic(proxy, "judged", 160, lambda n: hard[n])
        await proxy.settled(160)
    code, out = train(tmp_path)
    assert code == 1 and "no better than dice" in capsys.readouterr().err
    assert not out.exists()


async def test_too_little_to_learn_from_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stack(tmp_path, YAML, providers=PROVIDERS) as proxy:
        await traffic(proxy, "judged", 110, lambda n: n < 3)
        await proxy.settled(113)
    assert train(tmp_path, "--alias", "nobody")[0] == 2
    assert (
        "labels of 0 different prompts of alias nobody are too few: 100 are the least"
        in capsys.readouterr().err
    )
    code, out = train(tmp_path)
    told = capsys.readouterr().err
    assert code == 2 and not out.exists()
    assert "of 110 prompts 3 had a cheap answer that was not enough: at least 15" in told


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["x.jsonl"], "--from-ledger takes no labels"),
        (["--cheap", "a"], "--from-ledger takes no cheap"),
        (["--state", "/nowhere/books.db"], "no such file"),
    ],
)
def test_wrong_calls_of_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], why: str
) -> None:
    assert train(tmp_path, *more)[0] == 2
    assert why in capsys.readouterr().err
