"""What is known of providers and models, and the small conversions beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.dialects import effort, ids, quirks, seals
from muxproxy.dialects import neutral as n
from muxproxy.dialects.anthropic import models, schemas
from muxproxy.dialects.openai.request_write import strict_ready


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("api.openai.com", None, "openai"),
        ("eastus.openai.azure.com", None, "azure"),
        ("api.mistral.ai", 443, "mistral"),
        ("api.groq.com", None, "groq"),
        ("api.deepseek.com", None, "deepseek"),
        ("api.x.ai", None, "xai"),
        ("api.together.xyz", None, "together"),
        ("openrouter.ai", None, "openrouter"),
        ("api.fireworks.ai", None, "fireworks"),
        ("api.cohere.com", None, "cohere"),
        ("127.0.0.1", 11434, "ollama"),
        ("127.0.0.1", 8000, "vllm"),
        ("127.0.0.1", 8080, "llama.cpp"),
        ("notopenrouter.ai", None, "generic"),
        ("127.0.0.1", 9, "generic"),
    ],
)
def test_providers_are_known_by_their_host(host: str, port: int | None, name: str) -> None:
    assert quirks.find(host, port, "m").name == name


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("gpt-4o", False),
        ("gpt-4.1-mini", False),
        ("gpt-5-chat-latest", False),
        ("gpt-5-mini", True),
        ("gpt-6.1-terra", True),
        ("o4-mini", True),
        ("o3", True),
        ("omni-moderation", False),
    ],
)
def test_openais_reasoning_models(model: str, reasons: bool) -> None:
    found = quirks.find("api.openai.com", None, model)
    assert found.developer is reasons
    assert ("temperature" in found.refuses) is reasons
    assert found.limit == "max_completion_tokens"


def test_efforts_by_generation() -> None:
    efforts = {
        m: quirks.find("api.openai.com", None, m).efforts for m in ("o3", "gpt-5", "gpt-5.1")
    }
    assert efforts == {
        "o3": frozenset({"low", "medium", "high"}),
        "gpt-5": frozenset({"minimal", "low", "medium", "high"}),
        "gpt-5.1": frozenset({"none", "low", "medium", "high"}),
    }


@pytest.mark.parametrize(
    "name",
    [
        "claude-sonnet-4-5-20250929",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "claude-sonnet-4-5@20250929",
        "claude-sonnet-4.5",
    ],
)
def test_a_model_is_known_under_every_providers_name_for_it(name: str) -> None:
    assert models.find(name) == models.find("claude-sonnet-4-5")
    assert models.find(name).schema


def test_models_with_the_version_first_and_without_one() -> None:
    assert models.find("claude-3-5-haiku-20241022").max_tokens == 8192
    assert models.find("claude-3-7-sonnet-20250219").thinking
    assert models.find("claude-opus-4-20250514").max_tokens == 32000
    assert models.find("claude-opus-4-1-20250805").both_sampling is False
    assert models.find(None) == models.find("deepseek-chat") == models.Model()
    newest = models.find("claude-mythos-9-3")
    assert (newest.adaptive, newest.sampling, newest.budgets) == (True, False, False)


@given(st.text(min_size=1, max_size=80))
def test_an_id_that_is_made_to_fit_anthropic_is_restored(name: str) -> None:
    fit = ids.anthropic(name)
    assert ids._ANTHROPIC.match(fit)
    if len(name.encode("utf-8", "replace")) <= 90 and not name.startswith("mx-"):
        assert ids.original(fit) == name.encode("utf-8", "replace").decode()


@given(st.text(max_size=200))
def test_ids_and_names_fit_and_stay_the_same(name: str) -> None:
    assert 0 < len(ids.openai(name)) <= 40
    assert ids.openai(name) == ids.openai(name)
    assert ids._MISTRAL.match(ids.mistral(name))
    fit = ids.tool(name, 64)
    assert len(fit) <= 64
    assert ids.tool(fit, 64) == fit


def test_ids_that_only_look_like_ours() -> None:
    for name in ("mx-", "mx-*", "mx-____", "mx-a"):
        assert isinstance(ids.original(name), str)


def test_made_up_ids_differ_by_answer_choice_and_call() -> None:
    made = {ids.made_up(seed, c, i) for seed in ("a", "b") for c in (0, 1) for i in (0, 1)}
    assert len(made) == 8
    assert ids.made_up("a", 0, 0) == ids.made_up("a", 0, 0)


def test_efforts_and_budgets() -> None:
    for word in effort.EFFORTS:
        tokens = effort.budget(n.Reasoning(effort=word))
        back = effort.effort(n.Reasoning(budget=tokens))
        assert back == ("low" if word == "minimal" else word)
    assert effort.budget(n.Reasoning(adaptive=True)) == -1
    assert effort.effort(n.Reasoning(adaptive=True)) is None
    assert effort.effort(n.Reasoning(budget=10**9)) == "max"


@given(
    st.text(min_size=1),
    st.none() | st.from_regex(r"[a-z_0-9]{1,9}", fullmatch=True),
    st.sampled_from(["gemini", "responses"]),
    st.booleans(),
)
def test_a_tagged_proof_comes_back(proof: str, name: str | None, maker: str, seal: bool) -> None:
    block = n.Thinking(id=name, maker=maker)
    if seal:
        block.sealed = proof
    else:
        block.signature = proof
    back = n.Thinking()
    assert seals.untag(back, seals.tag(block))
    assert back == block


def test_a_signature_of_somebody_else_is_no_tag() -> None:
    for opaque in ("", "EqQB", "mux1", "mux1.a.b", "mux2.gemini.s..x"):
        assert not seals.untag(n.Thinking(), opaque)


def test_schemas_are_closed_all_the_way_down() -> None:
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "object", "properties": {}}, "minItems": 2},
            "any": {"anyOf": [{"type": "object"}, {"type": "number", "maximum": 3}]},
            "maximum": {"type": "string", "description": "d", "minLength": 1},
        },
        "$defs": {"x": {"type": "object"}},
        "default": {"type": "object"},
    }
    assert schemas.closed(schema) == {
        "type": "object",
        "properties": {
            "list": {
                "type": "array",
                "items": {"type": "object", "properties": {}, "additionalProperties": False},
                "description": "{minItems: 2}",
            },
            "any": {
                "anyOf": [
                    {"type": "object", "additionalProperties": False},
                    {"type": "number", "description": "{maximum: 3}"},
                ]
            },
            "maximum": {"type": "string", "description": "d {minLength: 1}"},
        },
        "$defs": {"x": {"type": "object", "additionalProperties": False}},
        "default": {"type": "object"},
        "additionalProperties": False,
    }


def test_strict_at_openai_needs_every_property_required_everywhere() -> None:
    good = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert strict_ready(good)
    assert not strict_ready({**good, "required": []})
    assert not strict_ready({**good, "additionalProperties": True})
    nested = {**good, "properties": {"a": {"type": "array", "items": {"type": "object"}}}}
    assert not strict_ready(nested)
    assert not strict_ready({**good, "$defs": {"x": {"type": "object", "properties": {}}}})
