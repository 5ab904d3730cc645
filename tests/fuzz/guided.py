"""Feeds one target with inputs that coverage leads to: python -m tests.fuzz.guided TARGET [flags].

Needs atheris, which `scripts/fuzz` installs beside everything else. Flags are libFuzzer's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["muxproxy"]):
    from tests.fuzz.targets import TARGETS


def main(name: str, folder: Path, flags: list[str]) -> None:
    """Does not return: libFuzzer ends the process, with an error for a broken promise."""
    target = TARGETS[name]
    seeds, corpus = folder / name / "seeds", folder / name / "corpus"
    for place in (seeds, corpus):
        place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.SEEDS):
        (seeds / str(number)).write_bytes(seed)
    words = folder / name / "tokens"
    words.write_text("".join(f'"{_escaped(token)}"\n' for token in target.TOKENS))
    options = [f"-dict={words}", f"-artifact_prefix={folder / name}/", "-max_len=2048"]
    atheris.Setup([sys.argv[0], *options, *flags, str(corpus), str(seeds)], target.check)
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
