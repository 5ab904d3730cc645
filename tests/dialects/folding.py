"""A stream's events as the whole answer they make: what a client ends up with."""

from __future__ import annotations

from collections.abc import Iterable

from muxproxy.dialects import neutral as n
from muxproxy.sse import Framer


def fold(events: Iterable[n.Event]) -> n.Answer:
    """The answer; parts stand in the order in which they began."""
    answer = n.Answer()
    outputs: dict[int, n.Output] = {}
    open_parts: dict[tuple[object, ...], n.Part] = {}
    for event in events:
        choice = getattr(event, "choice", None)
        if isinstance(choice, int) and choice not in outputs:
            outputs[choice] = n.Output(finish=n.Finish(choice=choice, reason="error"))
        if isinstance(event, n.Start):
            answer.id, answer.model, answer.created = event.id, event.model, event.created
        elif isinstance(event, n.TextDelta):
            parts = outputs[event.choice].parts
            if not (parts and isinstance(parts[-1], n.Text)):
                parts.append(n.Text(text=""))
            parts[-1].text += event.text
            if event.logprobs:
                output = outputs[event.choice]
                output.logprobs = [*(output.logprobs or []), *event.logprobs]
        elif isinstance(event, n.RefusalDelta):
            key: tuple[object, ...] = (event.choice, "refusal")
            if key not in open_parts:
                open_parts[key] = n.Refusal(text="")
                outputs[event.choice].parts.append(open_parts[key])
            open_parts[key].text += event.text
        elif isinstance(event, n.ThinkingDelta | n.ThinkingSeal):
            key = (event.choice, "thinking", event.part)
            if key not in open_parts:
                open_parts[key] = n.Thinking()
                outputs[event.choice].parts.append(open_parts[key])
            part = open_parts[key]
            if isinstance(event, n.ThinkingDelta):
                part.text += event.text
            else:
                part.signature, part.sealed = event.signature, event.sealed
                part.id, part.maker = event.id, event.maker
        elif isinstance(event, n.CallStart):
            call = n.Call(
                id=event.id,
                name=event.name,
                arguments="",
                signature=event.signature,
                custom=event.custom,
            )
            key = (event.choice, "call", event.index)
            assert key not in open_parts, "a call begins once"
            open_parts[key] = call
            outputs[event.choice].parts.append(call)
        elif isinstance(event, n.CallDelta):
            open_parts[event.choice, "call", event.index].arguments += event.arguments
        elif isinstance(event, n.MediaDelta):
            outputs[event.choice].parts.append(event.media)
        elif isinstance(event, n.Citation):
            outputs[event.choice].citations.append(event)
        elif isinstance(event, n.Finish):
            outputs[event.choice].finish = event
        elif isinstance(event, n.Totals):
            answer.usage = event.usage
        elif isinstance(event, n.Failure):
            answer.failure = event
    for part in open_parts.values():
        if isinstance(part, n.Call) and not part.arguments:
            part.arguments = "{}"
    answer.outputs = [outputs[choice] for choice in sorted(outputs)]
    return answer


def read_stream(reader: object, body: bytes) -> list[n.Event]:
    """Everything that `reader` (a dialect's stream.Reader) finds in the bytes of a stream."""
    framer = Framer()
    events: list[n.Event] = []
    for name, data in [*framer.feed(body), *framer.finish()]:
        events += reader.feed(name.decode() or None, data)  # type: ignore[attr-defined]
    return events + reader.finish()  # type: ignore[attr-defined, no-any-return]


def text_of(output: n.Output) -> str:
    return "".join(part.text for part in output.parts if isinstance(part, n.Text))


def thought_of(output: n.Output) -> str:
    return "".join(part.text for part in output.parts if isinstance(part, n.Thinking))


def calls_of(output: n.Output) -> list[n.Call]:
    return [part for part in output.parts if isinstance(part, n.Call)]
