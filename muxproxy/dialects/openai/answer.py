"""A whole OpenAI chat completion, read and written."""

from __future__ import annotations

from typing import Any

from muxproxy.dialects import faults, ids
from muxproxy.dialects import neutral as n
from muxproxy.dialects.openai import words
from muxproxy.dialects.openai.messages_read import (
    arguments_of,
    image,
    signature_of,
    thinking_text,
)
from muxproxy.dialects.openai.thoughts import details, from_details
from muxproxy.dialects.reading import provided, text_of
from muxproxy.dialects.usage import normalise
from muxproxy.errors import MuxError

# -- reading -------------------------------------------------------------------------------------


def read(body: bytes) -> n.Answer:
    """Raises MuxError upstream_protocol where `body` is no completion at all."""
    try:
        document = provided(body.lstrip())  # OpenRouter keeps the line open with blank lines
    except ValueError as exc:
        raise MuxError("upstream_protocol", "the provider's answer is not valid JSON") from exc
    if not isinstance(document, dict):
        raise MuxError("upstream_protocol", "the provider's answer is not a JSON object")
    name = text_of(document.get("id")) or None
    created = document.get("created")
    answer = n.Answer(
        id=name,
        model=text_of(document.get("model")) or None,
        created=created if created.__class__ is int else None,
    )
    native = document.get("usage")
    if isinstance(native, dict):
        answer.usage = normalise(native)
        if answer.usage is not None and answer.usage.tier is None:
            answer.usage.tier = text_of(document.get("service_tier")) or None
    error = document.get("error")
    if error:
        answer.failure = failure(error)
    choices = document.get("choices")
    for at, choice in enumerate(choices if isinstance(choices, list) else ()):
        if isinstance(choice, dict):
            answer.outputs.append(_output(choice, at, name))
            if choice.get("error"):  # OpenRouter
                answer.failure = failure(choice["error"])
    if answer.outputs:
        answer.outputs[0].citations += words.searched(document)
    return answer


def failure(error: object) -> n.Failure:
    """The error of a 200: a stream's, or OpenRouter's."""
    found = faults.of({"error": error} if isinstance(error, dict | str) else error)
    found.message = found.message or "the provider failed"
    return found


def _output(choice: dict[str, Any], at: int, seed: str | None) -> n.Output:
    index = choice.get("index")
    index = index if index.__class__ is int else at
    message = choice.get("message")
    if not isinstance(message, dict):
        text = text_of(choice.get("text"))
        message = {"content": text}
    parts = _parts(message, index, seed)
    called = any(part.__class__ is n.Call for part in parts)
    native = text_of(choice.get("finish_reason")) or None
    reason = words.reason(native or "stop", called)
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return n.Output(
        parts=parts,
        finish=n.Finish(choice=index, reason=reason, native=native),
        logprobs=content if isinstance(content, list) else None,
        citations=words.citations(message, index),
    )


def _parts(message: dict[str, Any], choice: int, seed: str | None) -> list[n.Part]:
    parts: list[n.Part] = []
    entries = message.get("reasoning_details")
    if isinstance(entries, list):
        parts += from_details(entries)
    if not any(part.text for part in parts if isinstance(part, n.Thinking)):
        thought = text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))
        if thought:
            parts.insert(0, n.Thinking(text=thought))
    content = message.get("content")
    if isinstance(content, list):
        parts += _listed(content)
    elif text_of(content):
        parts.append(
            n.Text(text=text_of(content), signature=signature_of(message.get("extra_content")))
        )
    if text_of(message.get("refusal")):
        parts.append(n.Refusal(text=message["refusal"]))
    images = message.get("images")
    for picture in images if isinstance(images, list) else ():
        media = image(picture.get("image_url")) if isinstance(picture, dict) else None
        if media is not None:
            parts.append(media)
    sound = message.get("audio")
    if isinstance(sound, dict) and text_of(sound.get("data")):
        parts.append(n.Media(kind="audio", data=sound["data"], text=None))
        if text_of(sound.get("transcript")) and not text_of(content):
            parts.append(n.Text(text=sound["transcript"]))
    calls = message.get("tool_calls")
    for at, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            parts.append(_call(call, ids.made_up(seed, choice, at)))
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and text_of(legacy.get("name")):
        arguments = arguments_of(legacy.get("arguments"))
        name = ids.made_up(seed, choice, 0)
        parts.append(n.Call(id=name, name=legacy["name"], arguments=arguments))
    return parts


def _listed(content: list[Any]) -> list[n.Part]:
    """Mistral's content list: thoughts, text, references."""
    parts: list[n.Part] = []
    for native in content:
        kind = native.get("type") if isinstance(native, dict) else None
        if kind == "thinking":
            parts.append(n.Thinking(text=thinking_text(native.get("thinking"))))
        elif kind == "text":
            text = text_of(native.get("text"))
            if parts and isinstance(parts[-1], n.Text):
                parts[-1].text += text
            elif text:
                parts.append(n.Text(text=text))
        elif kind == "image_url":
            media = image(native.get("image_url"))
            if media is not None:
                parts.append(media)
    return parts


def _call(native: dict[str, Any], name: str) -> n.Call:
    function = native.get("function")
    custom = native.get("custom")
    name = text_of(native.get("id")) or name
    if isinstance(custom, dict) and not isinstance(function, dict):
        return n.Call(
            id=name,
            name=text_of(custom.get("name")),
            arguments=text_of(custom.get("input")),
            custom=True,
        )
    function = function if isinstance(function, dict) else {}
    return n.Call(
        id=name,
        name=text_of(function.get("name")),
        arguments=arguments_of(function.get("arguments")),
        signature=signature_of(native.get("extra_content")),
    )


# -- writing -------------------------------------------------------------------------------------


def write(answer: n.Answer, request: n.Request, id: str, created: int) -> dict[str, Any]:
    """The completion to encode. Raises MuxError upstream_protocol where there is only an error."""
    faults.refuse_empty(answer)
    body: dict[str, Any] = {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": answer.model or request.model or "",
        "choices": [_choice(output, request) for output in answer.outputs],
    }
    tier = words.tier(answer.usage)
    if tier is not None:
        body["service_tier"] = tier
    if answer.usage is not None:
        body["usage"] = words.usage(answer.usage)
    return body


def _choice(output: n.Output, request: n.Request) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts: list[str] = []
    thoughts: list[n.Thinking] = []
    calls: list[dict[str, Any]] = []
    for part in output.parts:
        if isinstance(part, n.Text):
            texts.append(part.text)
            if part.signature is not None:
                message["extra_content"] = {"google": {"thought_signature": part.signature}}
        elif isinstance(part, n.Call):
            calls.append(call(part, request))
        elif isinstance(part, n.Thinking):
            thoughts.append(part)
        elif isinstance(part, n.Refusal):
            message["refusal"] = part.text
        elif isinstance(part, n.Media):
            _made(part, message, output.finish.choice)
    if texts or not (calls or message["refusal"]):
        message["content"] = "".join(texts)
    if thoughts:
        text = "".join(part.text for part in thoughts)
        if text:
            message["reasoning_content"] = text
        message["reasoning_details"] = details(thoughts)
    notes = [words.annotation(c) for c in output.citations if c.url is not None]
    if notes:
        message["annotations"] = notes
    finish = words.FINISHES[output.finish.reason]
    if calls and request.legacy_functions:
        message["function_call"] = calls[0]["function"]
        finish = "function_call" if finish == "tool_calls" else finish
    elif calls:
        message["tool_calls"] = calls
    logprobs = None if output.logprobs is None else {"content": output.logprobs, "refusal": None}
    return {
        "index": output.finish.choice,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": finish,
    }


def call(part: n.Call, request: n.Request) -> dict[str, Any]:
    """One tool call of an answer."""
    name = request.renamed.get(part.name, part.name)
    if part.custom:
        custom = {"name": name, "input": part.arguments}
        return {"id": part.id, "type": "custom", "custom": custom}
    out: dict[str, Any] = {
        "id": part.id,
        "type": "function",
        "function": {"name": name, "arguments": part.arguments},
    }
    if part.signature is not None:
        out["extra_content"] = {"google": {"thought_signature": part.signature}}
    return out


def _made(part: n.Media, message: dict[str, Any], choice: int) -> None:
    """A generated image (OpenRouter's `images`) or sound (`audio`)."""
    if part.kind == "audio":
        message["audio"] = {
            "id": f"audio_{choice}",
            "data": part.data or "",
            "expires_at": 0,
            "transcript": part.text or "",
        }
    elif part.kind == "image":
        message.setdefault("images", []).append(picture(part))


def picture(part: n.Media) -> dict[str, Any]:
    """A generated image as OpenRouter shows it."""
    url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data or ''}"
    return {"type": "image_url", "image_url": {"url": url}}
