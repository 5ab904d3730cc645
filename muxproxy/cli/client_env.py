"""The variables that point SDKs and agents at a muxproxy (see docs/clients.md).

`client_environment` is the one place: `env` prints it, `run` gives it to its child.
"""

from __future__ import annotations

from collections.abc import Mapping

from muxproxy.ca.variables import HERE, proxy_variables

# Where the SDKs look for a base URL: with /v1 as OpenAI's do, or without.
WITH_V1 = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
WITHOUT = (
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_URL",
    "ANTHROPIC_API_BASE",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "GROQ_BASE_URL",
    "CO_API_URL",
)
# Where they look for a key: without one they do not even start.
KEYS = (
    "OPENAI_API_KEY",
    "CODEX_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "CO_API_KEY",
)
# Further names of provider keys and tokens: never given, only taken away.
OTHER_KEYS = (
    "ANTHROPIC_AUTH_TOKEN",
    "AZURE_OPENAI_API_KEY",
    "CEREBRAS_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "COHERE_API_KEY",
    "DEEPSEEK_API_KEY",
    "FIREWORKS_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "OPENROUTER_API_KEY",
    "PERPLEXITY_API_KEY",
    "TOGETHER_API_KEY",
    "XAI_API_KEY",
)


def client_environment(
    base_url: str,
    *,
    key: str | None = None,
    env: Mapping[str, str] | None = None,
    trust: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Variables for programs that should call `base_url` (no path).

    `key` fills every key variable. `env` is the environment it is added to: NO_PROXY keeps what
    it has, and calls to this machine stay on it. `trust` (what makes programs trust the local
    CA) makes it their proxy as well: those that read no base URL are caught by that.
    """
    found = {} if trust is None else {**trust, **proxy_variables(base_url)}
    found |= {name: f"{base_url}/v1" for name in WITH_V1}
    found |= dict.fromkeys(WITHOUT, base_url)
    found["MUXPROXY_URL"] = base_url
    if key is not None:
        found |= dict.fromkeys(KEYS, key)
    for name in ("NO_PROXY", "no_proxy"):
        listed = [one for one in ((env or {}).get(name) or "").split(",") if one.strip()]
        found[name] = ",".join(dict.fromkeys((*listed, *HERE)))
    return found
