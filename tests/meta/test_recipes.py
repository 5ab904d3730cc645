"""Each recipe is loaded, and does what its head says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from muxproxy.cli.price_lint import EXTRA
from muxproxy.compiling import TERMS
from muxproxy.config.check import check
from muxproxy.config.load import load_file
from muxproxy.ledger.reports import receipt_json
from muxproxy.runtime import Runtime
from muxproxy.server import open_doors
from muxproxy.sim.server import start
from tests.http_client import call
from tests.meta.sources import ROOT

RECIPES = sorted((ROOT / "examples/recipes").glob("*.yaml"))
ENV = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}


def tries(text: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What to ask, and what to expect."""
    found = re.findall(r"^# try: (.*)\n# expect: (.*)$", text, re.M)
    return [(json.loads(asked), json.loads(want)) for asked, want in found]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
async def test_a_recipe_does_what_it_says(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    assert check(text, path.name, ENV, extra=EXTRA, terms=TERMS).lines() == []
    assert tries(text)
    sim = await start()
    config = load_file(str(path), ENV).config
    providers = {
        name: msgspec.structs.replace(one, base_url=sim.url + urlsplit(one.base_url).path)
        for name, one in config.providers.items()
    }
    here = {"listen": "127.0.0.1:0", "state": str(tmp_path / "b.db"), "providers": providers}
    runtime = Runtime.from_file(str(path), ENV, overrides=here)
    await runtime.start()
    doors = await open_doors(runtime)
    try:
        for asked, want in tries(text):
            body = {"messages": [{"role": "user", "content": "hi"}], **asked["body"]}
            answer = await call(
                doors[0].port, "POST", "/v1/chat/completions", body, asked.get("headers")
            )
            id = int(answer.headers["x-muxproxy-id"], 16)
            receipt = runtime.ledger.find(id)
            assert receipt is not None
            seen = receipt_json(receipt) | {
                "status": answer.status,
                "budget": answer.headers.get("x-budget-name"),
                "cost": receipt.cost,
            }
            assert {name: seen[name] for name in want} == want, answer.body
    finally:
        for door in doors:
            await door.aclose()
        await runtime.aclose()
        await sim.aclose()


def test_every_recipe_is_on_the_page() -> None:
    page = (ROOT / "docs/recipes.md").read_text()
    named = re.findall(r"\(\.\./examples/recipes/([\w-]+)\.yaml\)", page)
    assert sorted(named) == [path.stem for path in RECIPES]
