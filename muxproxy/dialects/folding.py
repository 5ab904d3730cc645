"""A whole answer as the events of a stream: for a provider that answers a stream with JSON."""

from __future__ import annotations

from muxproxy.dialects import neutral


def events_of(answer: neutral.Answer) -> list[neutral.Event]:
    """The stream that would have said the same."""
    events: list[neutral.Event] = [
        neutral.Start(id=answer.id, model=answer.model, created=answer.created, usage=answer.usage)
    ]
    for number, output in enumerate(answer.outputs):
        calls = thoughts = 0
        for part in output.parts:
            match part:
                case neutral.Text():
                    events.append(neutral.TextDelta(choice=number, text=part.text))
                case neutral.Thinking():
                    events += _thinking(part, number, thoughts)
                    thoughts += 1
                case neutral.Call():
                    events += _call(part, number, calls)
                    calls += 1
                case neutral.Refusal():
                    events.append(neutral.RefusalDelta(choice=number, text=part.text))
                case neutral.Media():
                    events.append(neutral.MediaDelta(choice=number, media=part))
        events += output.citations
        output.finish.choice = number
        events.append(output.finish)
    if answer.usage is not None:
        events.append(neutral.Totals(usage=answer.usage))
    events.append(neutral.Done())
    return events


def _thinking(part: neutral.Thinking, choice: int, number: int) -> list[neutral.Event]:
    events: list[neutral.Event] = []
    if part.text:
        events.append(neutral.ThinkingDelta(choice=choice, part=number, text=part.text))
    if part.signature or part.sealed:
        events.append(
            neutral.ThinkingSeal(
                choice=choice,
                part=number,
                signature=part.signature,
                sealed=part.sealed,
                id=part.id,
                maker=part.maker,
            )
        )
    return events


def _call(part: neutral.Call, choice: int, index: int) -> list[neutral.Event]:
    return [
        neutral.CallStart(
            choice=choice,
            index=index,
            id=part.id,
            name=part.name,
            signature=part.signature,
            custom=part.custom,
        ),
        neutral.CallDelta(choice=choice, index=index, arguments=part.arguments),
    ]
