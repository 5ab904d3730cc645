"""POST /v1/explain tells what the same call then meets, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.process.server import command
from tests.stack import stack

PATH = "/v1/chat/completions"
ASK = {
    "model": "auto",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "the-prompt-marker"}],
}
YAML = """
models: {small: [mistral/mistral-small-latest, openai/gpt-4o-mini]}
rules:
  - {name: team, when: {header.x-team: red}, tag: red, set: {temperature: 0.5}, continue: true}
  - {name: seen, when: {model: auto}, deny: "no", shadow: true}
  - {name: rest, when: {model: auto}, to: small}
budgets: [{name: all, limit: $1, window: prepaid}]
limits: [{name: fair, requests: 1/hour}]
"""
JSON = {"content-type": "application/json"}


async def test_what_is_explained_is_what_happens(tmp_path: Path) -> None:
    headers = {"x-team": "red", "authorization": "Bearer sk-of-the-caller"}
    asked = {"path": PATH, "headers": headers, "body": ASK}
    async with stack(tmp_path, YAML) as pair:
        for _ in range(3):
            answer = await pair.post("/v1/explain", asked, JSON)
            assert answer.status == 200, answer.body
        said = answer.json()
        assert pair.sim.requests == []
        assert b"sk-of-the-caller" not in answer.body and b"sk-mistral" not in answer.body
        assert [(r["rule"], r["matched"]) for r in said["rules"]] == [
            ("team", True), ("seen", True), ("rest", True),
        ]  # fmt: skip
        assert [c["verdict"] for c in said["candidates"]] == ["would be sent", "a fall-back"]
        (budget,) = pair.runtime.budgets()
        assert (budget["spent"], budget["held"]) == (0, 0)

        live = await pair.post(PATH, ASK, headers)  # the only one that the limit lets pass
        assert live.status == 200
        receipt = await pair.receipt(live)
        first = said["candidates"][0]
        sent = pair.sim.requests[0]
        assert (first["provider"], first["model"]) == (receipt.provider, receipt.model)
        assert (said["plan"]["rule"], said["plan"]["reason"]) == (receipt.rule, receipt.reason)
        assert [*first["request"]["edits"], "router_metadata"] == list(receipt.edits)
        assert first["request"]["body"] == json.loads(sent.body or b"")
        assert first["request"]["url"].endswith(sent.head.target)
        assert first["budgets"][0]["needs"] == (receipt.held or 0) / 1e9
        assert set(first["request"]["headers"]) <= {
            k.decode().lower() for k, _ in sent.head.headers
        }

        refused = (await pair.post("/v1/explain", asked, JSON)).json()
        assert refused["outcome"]["code"] == "rate_limited"
        assert (await pair.post(PATH, ASK, headers)).status == 429

        wrong = await pair.post("/v1/explain", {"path": 5}, JSON)
        assert wrong.status == 400
        assert "path" in wrong.json()["error"]["message"]
        await pair.settled(2)
    state = ["--state", str(tmp_path / "books.db"), "--config", str(tmp_path / "muxproxy.yaml")]
    done = command("explain", format(receipt.id, "016x"), *state)
    assert done.returncode == 0, done.stderr
    assert "rule: rest" in done.stdout and "mistral/mistral-small-latest" in done.stdout
    assert "under the configuration as it is now: mistral/mistral-small-latest" in done.stdout
    assert "+ team: header x-team is red" in done.stdout  # as the receipt remembers
    assert "the-prompt-marker" not in done.stdout
    assert command("explain", "0" * 16, *state).returncode == 1
