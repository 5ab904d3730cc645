"""What translation costs: CPU per request, answer and SSE event, for every pair of dialects.

    python -m scripts.benchmark.translation

Pure CPU of the translators (decode, neutral form, encode), best of several runs; sockets, rules and
books are not in it. The inputs are made here: an ordinary agent's request (system, three turns,
two tools), a short answer, a stream of 200 words and one tool call.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from muxproxy.dialects import neutral as n
from muxproxy.dialects.translators import Translator, translator
from muxproxy.exchange import DIALECTS, Usage
from muxproxy.sse import Framer

WORDS = 200
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
encode = msgspec.json.encode


def request() -> n.Request:
    said = "Look at the weather in Ghent and tell me what to wear. " * 4
    return n.Request(
        model="m",
        system=[n.Text(text="You are a careful assistant. " * 20)],
        turns=[
            n.Turn(role="user", parts=[n.Text(text=said)]),
            n.Turn(
                role="assistant",
                parts=[n.Call(id="call_1", name="weather", arguments='{"city":"Ghent"}')],
            ),
            n.Turn(
                role="user",
                parts=[n.Result(id="call_1", name="weather", parts=[n.Text(text="rain")])],
            ),
        ],
        tools=[
            n.Tool(name="weather", description="The weather", schema=SCHEMA),
            n.Tool(name="clothes", description="What there is to wear", schema=SCHEMA),
        ],
        max_tokens=1000,
        temperature=0.5,
        stream=True,
        stream_usage=True,
    )


def events() -> list[n.Event]:
    found: list[n.Event] = [n.Start(id="x", model="m")]
    found += [n.TextDelta(text=f"word{at} ") for at in range(WORDS)]
    found += [
        n.CallStart(id="call_2", name="clothes"),
        n.CallDelta(arguments='{"city":'),
        n.CallDelta(arguments='"Ghent"}'),
        n.Finish(reason="tools"),
        n.Totals(usage=Usage(input=400, output=210)),
        n.Done(),
    ]
    return found


def answer() -> n.Answer:
    output = n.Output(parts=[n.Text(text="Take a coat. " * 20)])
    return n.Answer(id="x", model="m", outputs=[output], usage=Usage(input=400, output=80))


def microseconds(work: Callable[[], object], times: int, runs: int = 5) -> float:
    """Best CPU of one call of `work`."""
    work()
    best = float("inf")
    for _ in range(runs):
        begun = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - begun)
    return best / times * 1e6


def pair(caller: Translator, provider: Translator) -> tuple[float, float, float]:
    """(request, answer, SSE event) of one pair."""
    asked = encode(caller.write_request(request()))
    said = encode(provider.write_answer(answer(), request(), "id", 1))
    writer = provider.writer(request(), "id", 1)
    stream = b"".join(writer.write(event) for event in events())
    framer = Framer()
    cut = [(name.decode() or None, data) for name, data in framer.feed(stream) + framer.finish()]
    wanted = request()

    def ask() -> bytes:
        read = caller.read_request(asked, "m", True)
        read.model = "m"
        return encode(provider.write_request(read))

    def reply() -> bytes:
        return encode(caller.write_answer(provider.read_answer(said), wanted, "id", 1))

    def tell() -> None:
        reader, told = provider.reader(), caller.writer(wanted, "id", 1)
        for name, data in cut:
            for event in reader.feed(name, data):
                told.write(event)
        for event in reader.finish():
            told.write(event)

    return microseconds(ask, 300), microseconds(reply, 300), microseconds(tell, 10) / len(cut)


def main() -> None:
    print(f"{'caller -> provider':26} {'request':>9} {'answer':>9} {'event':>9}   (us of CPU)")
    for caller in DIALECTS:
        for provider in DIALECTS:
            if caller != provider:
                figures = pair(translator(caller), translator(provider))
                row = " ".join(f"{figure:9.1f}" for figure in figures)
                print(f"{caller + ' -> ' + provider:26} {row}")


if __name__ == "__main__":
    main()
