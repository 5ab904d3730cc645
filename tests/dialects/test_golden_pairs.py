"""Golden files: one request and one stream per pair, whole and readable, for people to look at.

tests/golden/pairs/<from>_to_<to>/: a caller of <from> asks a provider of <to>. request_in is the
caller's, request_out the provider's; stream_in is the provider's, stream_out the caller's.
After a wanted change: `python -m tests.dialects.test_golden_pairs` writes the outputs anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muxproxy.dialects import quirks
from muxproxy.dialects.translators import translator
from muxproxy.sse import Framer

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "pairs"
HOSTS = {"openai": "api.openai.com"}
PAIRS = sorted(p.name for p in GOLDEN.iterdir() if (p / "request_in.json").is_file())


def outputs(pair: str) -> dict[str, str]:
    """What the translators make of a pair's inputs, by file name."""
    folder = GOLDEN / pair
    asking, _, answering = pair.partition("_to_")
    caller, provider = translator(asking), translator(answering)
    model = json.loads((folder / "model.json").read_bytes())
    request = caller.read_request((folder / "request_in.json").read_bytes(), model, True)
    request.model = model
    ways: dict[str, Any] = {}
    if answering in HOSTS:
        ways["quirks"] = quirks.find(HOSTS[answering], None, model)
    body = {"body": provider.write_request(request, **ways), "dropped": request.dropped}
    reader = provider.reader()
    writer = caller.writer(request, "id_1", 1700000000)
    framer = Framer()
    sse = (folder / "stream_in.sse").read_bytes()
    out = []
    for name, data in [*framer.feed(sse), *framer.finish()]:
        out += [writer.write(event) for event in reader.feed(name.decode() or None, data)]
    out += [writer.write(event) for event in reader.finish()]
    return {
        "request_out.json": json.dumps(msgspec.to_builtins(body), indent=1, ensure_ascii=False)
        + "\n",
        "stream_out.sse": b"".join(out).decode(),
    }


def test_there_are_pairs() -> None:
    assert len(PAIRS) == 12


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_translate_as_written_down(pair: str) -> None:
    for name, made in outputs(pair).items():
        assert made == (GOLDEN / pair / name).read_bytes().decode(), name


if __name__ == "__main__":
    for each in PAIRS:
        for file, made in outputs(each).items():
            (GOLDEN / each / file).write_bytes(made.encode())
