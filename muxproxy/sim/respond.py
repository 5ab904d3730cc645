"""Decides the answer to one request: recording, literal body, error, echo or a dialect's."""

import hashlib
from dataclasses import replace

import orjson

from muxproxy.sim import anthropic, errors, gemini, openai, others, responses
from muxproxy.sim.answer import JSON, Answer, dumps, json_answer
from muxproxy.sim.ask import Ask, BadBody, classify, read_ask
from muxproxy.sim.http import Head, Headers
from muxproxy.sim.recordings import NotRecorded, Recordings
from muxproxy.sim.render import Reply, render
from muxproxy.sim.script import Options, ScriptError
from muxproxy.sim.text import Turn, compose, digest

_BLOCK = b"0123456789abcdef" * 4096
PROVIDERS = frozenset(("openai", "responses", "anthropic", "gemini", "cohere", "ollama"))


def complaint(status: int, text: str) -> Answer:
    """An answer about the script itself, which no provider would give."""
    return Answer(status, [(b"Content-Type", JSON)], [dumps({"sim_error": text})])


def request_id(seed: str, dialect: str) -> str:
    return f"req_{digest(seed, dialect)[:32]}"


def echo(head: Head, body: bytes) -> Answer:
    """What a pass-through test needs to know of the request that arrived."""
    path, _, query = head.target.partition("?")
    headers = [[n.decode("latin-1"), v.decode("latin-1")] for n, v in head.headers]
    found = {
        "method": head.method,
        "target": head.target,
        "path": path,
        "query": query,
        "headers": headers,
        "body_bytes": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    return json_answer(found, [])


def _models_dialect(head: Head) -> str:
    if head.get(b"anthropic-version") is not None:
        return "anthropic"
    if head.get(b"x-goog-api-key") is not None or "/v1beta" in head.target:
        return "gemini"
    return "openai"


def _provider(ask: Ask, turn: Turn, headers: Headers) -> Answer:
    if ask.dialect == "anthropic":
        if ask.endpoint == "count_tokens":
            return anthropic.count_tokens(turn.usage, headers)
        return anthropic.messages(ask, turn, headers)
    if ask.dialect == "gemini":
        if ask.endpoint == "count_tokens":
            return gemini.count_tokens(turn.usage, headers)
        if ask.endpoint != "generate":
            return gemini.embed(ask, headers)
        return gemini.generate(ask, turn, headers)
    if ask.dialect == "responses":
        if ask.endpoint == "input_tokens":
            counted = turn.usage.input if turn.usage else 0
            body = {"object": "response.input_tokens", "input_tokens": counted}
            return json_answer(body, headers)
        return responses.responses(ask, turn, headers)
    if ask.dialect == "cohere":
        return others.cohere(ask, turn, headers)
    if ask.dialect == "ollama":
        return others.ollama(ask, turn, headers)
    if ask.endpoint == "embeddings":
        return openai.embeddings(ask, turn.usage, headers)
    if ask.endpoint == "completions":
        return openai.completions(ask, turn, headers)
    return openai.chat(ask, turn, headers)


def _break(answer: Answer, ask: Ask, after: int) -> None:
    """Puts the dialect's error in place of the rest of a stream."""
    kept = answer.pieces[:after]
    if ask.dialect == "gemini" and not ask.sse:
        error = errors.error_events("gemini", 0, None)[0][len(b"data: ") :].strip()
        answer.pieces = [*kept, (b"\n,\r\n" if kept else b"[") + error + b"\n]"]
        return
    response = None
    if ask.dialect == "responses":
        first = orjson.loads(answer.pieces[0].partition(b"\ndata: ")[2])
        response = first["response"]
    answer.pieces = [*kept, *errors.error_events(ask.dialect, after, response)]
    answer.glued = frozenset()


def _dialect_answer(head: Head, body: bytes, options: Options, seed: str) -> Answer:
    dialect, _, _ = classify(head.method, head.target)
    name = request_id(seed, dialect)
    if options.status >= 400:
        return errors.error_answer(dialect, options, name)
    headers = errors.id_headers(dialect, name)
    if options.ratelimit is not None:
        headers += errors.ratelimit_headers(dialect, options.ratelimit)
    try:
        ask = read_ask(head.method, head.target, body)
    except BadBody as error:
        return errors.error_answer(dialect, replace(options, status=400), name, str(error))
    if ask.dialect == "models":
        answer = openai.models(ask, _models_dialect(head), headers)
    elif ask.dialect == "root":
        answer = json_answer({"sim": "muxproxy simulated providers"}, headers)
    elif ask.dialect == "echo":
        answer = echo(head, body)
    else:
        answer = _provider(ask, compose(ask, options, seed), headers)
    if options.error_after is not None:
        if not answer.stream:
            return Answer(200, answer.headers, [dumps(errors.error_body(dialect, options, name))])
        _break(answer, ask, options.error_after)
    answer.status = options.status
    return answer


def answer_for(
    head: Head, body: bytes, options: Options, seed: str, recordings: Recordings | None
) -> Answer:
    """The answer, whatever it comes from, with the script's own headers added."""
    if options.recording is not None:
        if recordings is None:
            return complaint(404, "no recordings folder was given to the simulator")
        try:
            answer = recordings.answer(options.recording)
        except NotRecorded as error:
            return complaint(404, str(error))
    elif options.body is not None:
        answer = Answer(options.status, [], [options.body])
    elif options.size is not None:
        blocks, rest = divmod(options.size, len(_BLOCK))
        pieces = [_BLOCK] * blocks + ([_BLOCK[:rest]] if rest else [])
        answer = Answer(200, [(b"Content-Type", b"application/octet-stream")], pieces)
    else:
        answer = _dialect_answer(head, body, options, seed)
    given = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in options.headers]
    names = {name.lower() for name, _ in given}
    answer.headers = [item for item in answer.headers if item[0].lower() not in names] + given
    return answer


def reply_for(
    head: Head, body: bytes, options: Options, seed: str, recordings: Recordings | None
) -> Reply:
    """The reply as socket writes."""
    whole_seed = digest(seed, head.target)
    http11 = head.version == "HTTP/1.1"
    try:
        answer = answer_for(head, body, options, seed, recordings)
        return render(
            answer, options, whole_seed, method=head.method, http11=http11, keep=head.keep_alive
        )
    except ScriptError as error:
        answer, plain = complaint(400, str(error)), Options()
        return render(
            answer, plain, whole_seed, method=head.method, http11=http11, keep=head.keep_alive
        )
