"""Makes muxproxy/prices/abilities.json from LiteLLM's model table, which is read, not imported.

pip download --no-deps litellm==1.109.1 -d /tmp/wheels
python scripts/abilities.py /tmp/wheels/litellm-*.whl
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

OUT = Path(__file__).parents[1] / "muxproxy" / "prices" / "abilities.json"
INSIDE = "litellm/model_prices_and_context_window_backup.json"
PROVIDERS = {
    "openai",
    "anthropic",
    "gemini",
    "mistral",
    "groq",
    "deepseek",
    "xai",
    "cohere_chat",
    "perplexity",
    "cerebras",
}
FLAGS = {"supports_function_calling": 1, "supports_vision": 2, "supports_response_schema": 4}


def main(wheel: str) -> None:
    """Writes the file. Where two providers serve one model, the larger limits and what both can."""
    found: dict[str, list[int]] = {}
    for name, entry in json.loads(zipfile.ZipFile(wheel).read(INSIDE)).items():
        if entry.get("litellm_provider") not in PROVIDERS or name.startswith("ft:"):
            continue
        if entry.get("mode") not in ("chat", "responses"):
            continue
        context, most = entry.get("max_input_tokens"), entry.get("max_output_tokens")
        if not isinstance(context, int) or not isinstance(most, int):
            continue
        flags = sum(bit for flag, bit in FLAGS.items() if entry.get(flag))
        bare = name.rpartition("/")[2].lower()
        known = found.get(bare)
        if known is not None:
            context, most = max(context, known[0]), max(most, known[1])
            flags &= known[2]
        found[bare] = [context, most, flags]
    version = Path(wheel).name.split("-")[1]
    rows = ",\n".join(f'"{name}":{json.dumps(row)}' for name, row in sorted(found.items()))
    OUT.write_text(f'{{"source":"litellm {version} (MIT)","models":{{\n{rows}\n}}}}\n')
    print(f"{OUT}: {len(found)} models")


if __name__ == "__main__":
    main(sys.argv[1])
