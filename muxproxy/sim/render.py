"""From an answer to the exact socket writes of a reply: framing, gzip, slices and faults."""

import zlib
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from muxproxy.sim.answer import Answer
from muxproxy.sim.http import Headers, chunk, render_head
from muxproxy.sim.script import AFTER_HEAD, BEFORE_HEAD, Options, ScriptError

LAST_CHUNK = b"0\r\n\r\n"
_JSON_PIECES = 4
_EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n"
STAMP_WIDTH = 19  # digits of the largest 63-bit number; blanks before a JSON number are legal


class Stamped(NamedTuple):
    """A write with a gap for the nanoseconds of the moment it is written."""

    before: bytes
    after: bytes


Frame = bytes | Stamped | tuple[bytes, ...]


@dataclass(slots=True, frozen=True)
class Reply:
    """`prelude` goes out at once, then after `ttft` the frames, `pace` seconds apart. A frame that
    is a tuple is written slice by slice, each in a socket write of its own. `end`: keep the
    connection | close it | drop (close, reply incomplete) | reset (RST) | hang (say no more)."""

    frames: tuple[Frame, ...]
    end: str
    ttft: float = 0.0
    pace: float = 0.0
    lockstep: str | None = None
    prelude: bytes = b""
    size: int = 0


def _fault(options: Options) -> tuple[str, int] | None:
    for word in ("drop", "reset", "hang"):
        where = getattr(options, f"{word}_after")
        if where is not None:
            return word, where
    return None


def _glue(answer: Answer) -> list[bytes]:
    found: list[bytes] = []
    carry = b""
    for index, piece in enumerate(answer.pieces):
        carry += piece
        if index not in answer.glued:
            found.append(carry)
            carry = b""
    return [*found, carry] if carry else found


def _cut(body: bytes, parts: int) -> list[bytes]:
    step = max(1, -(-len(body) // parts))
    return [body[at : at + step] for at in range(0, len(body), step)] or [b""]


def _garbage(kind: str, pieces: list[bytes], random: Random) -> list[bytes]:
    if kind == "body":
        return [random.randbytes(max(1, len(piece))) for piece in pieces]
    if kind == "json":
        victim = min(2, len(pieces) - 1)
        piece = pieces[victim]
        ending = b"\n\n" if piece.endswith(b"\n\n") else b""
        return [*pieces[:victim], piece[: len(piece) * 2 // 3] + ending, *pieces[victim + 1 :]]
    if kind == "sse":
        junk = [
            b"no colon in this line\n\n",
            b"data: {not json at all\n\n",
            b"\x00\xff\xfe:\x80\n\n",
            b"event: \r\ndata\r\n\r\n",
            b"data: " + b"x" * 5000 + b"\n\n",
        ]
        return [*pieces[:1], *junk, *pieces[1:]]
    return pieces


def _gzip(pieces: list[bytes]) -> list[bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    found = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    found[-1] += packer.flush(zlib.Z_FINISH)
    return found


def _stamp(piece: bytes, framed: bool) -> Frame:
    """`piece` with an extra member `sim_ns` at the end of its JSON, to be filled when written."""
    at = piece.rfind(b"}")
    if at < 0:
        return chunk(piece) if framed else piece
    before, after = piece[:at] + b',"sim_ns":', piece[at:]
    if not framed:
        return Stamped(before, after)
    size = len(before) + STAMP_WIDTH + len(after)
    return Stamped(b"%x\r\n%b" % (size, before), after + b"\r\n")


def _join(left: bytes, frame: Frame) -> Frame:
    if isinstance(frame, Stamped):
        return Stamped(left + frame.before, frame.after)
    assert isinstance(frame, bytes)
    return left + frame


def _append(frame: Frame, right: bytes) -> Frame:
    if isinstance(frame, Stamped):
        return Stamped(frame.before, frame.after + right)
    assert isinstance(frame, bytes)
    return frame + right


def _slices(data: bytes, size: int | str, random: Random) -> tuple[bytes, ...]:
    if isinstance(size, int):
        return tuple(data[at : at + size] for at in range(0, len(data), size))
    found: list[bytes] = []
    at = 0
    while at < len(data):
        step = random.choice((1, 1, 2, 3, 5, 8, 13, 40, 200, 1000))
        found.append(data[at : at + step])
        at += step
    return tuple(found)


def _pieces(answer: Answer, options: Options, random: Random) -> list[bytes]:
    pieces = _glue(answer) if options.lockstep else list(answer.pieces)
    whole = not answer.stream and len(pieces) == 1
    if whole and (_fault(options) or options.chunked or options.lockstep):
        pieces = _cut(pieces[0], _JSON_PIECES)
    if options.garbage:
        pieces = _garbage(options.garbage, pieces or [b""], random)
    if options.gzip and pieces:
        pieces = _gzip(pieces)
    return pieces


@dataclass(slots=True)
class _Framing:
    """How the body is delimited: chunked, or by `length`, or by the end of the connection."""

    chunked: bool
    length: int | None
    close: bool


def _framing(answer: Answer, options: Options, total: int, http11: bool) -> _Framing:
    if options.wrong_length:
        shift = max(1, total // 3)
        length = total - shift if options.wrong_length == "short" else total + shift
        return _Framing(False, max(0, length), True)
    chunked = answer.stream if options.chunked is None else options.chunked
    if options.garbage == "chunk":
        chunked = True
    if chunked and http11:
        return _Framing(True, None, options.close)
    if answer.stream or chunked:
        return _Framing(False, None, True)
    return _Framing(False, total, options.close)


def _head(answer: Answer, options: Options, framing: _Framing, keep: bool) -> bytes:
    headers: Headers = list(answer.headers)
    if options.gzip:
        headers.append((b"Content-Encoding", b"gzip"))
    bodiless = answer.status in (204, 304)
    if framing.chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
    elif framing.length is not None and not bodiless:
        headers.append((b"Content-Length", b"%d" % framing.length))
    if framing.close or not keep:
        headers.append((b"Connection", b"close"))
    return render_head(answer.status, headers)


def render(
    answer: Answer, options: Options, seed: str, *, method: str, http11: bool, keep: bool
) -> Reply:
    """The writes of one reply. Raises ScriptError for options that cannot go together."""
    random = Random(seed)
    if options.garbage == "head":
        return Reply((random.randbytes(64) + b"\r\n\r\n",), "drop", options.ttft)
    stamped = options.timestamp
    if stamped and (options.slice or options.gzip or options.wrong_length or options.garbage):
        raise ScriptError("timestamp goes with no slice, gzip, wrong-length or garbage")
    pieces = [] if answer.status in (204, 304) else _pieces(answer, options, random)
    total = sum(map(len, pieces))
    if stamped:
        total += sum(len(b',"sim_ns":') + STAMP_WIDTH for piece in pieces if b"}" in piece)
    framing = _framing(answer, options, total, http11)
    head = _head(answer, options, framing, keep)
    if method == "HEAD":
        return Reply((head,), "close" if framing.close or not keep else "keep", options.ttft)
    frames: list[Frame] = []
    for piece in pieces:
        if stamped:
            frames.append(_stamp(piece, framing.chunked))
        elif piece:  # an empty chunk would end the body
            frames.append(chunk(piece) if framing.chunked else piece)
    end = "close" if framing.close or not keep else "keep"
    tail = LAST_CHUNK if framing.chunked else b""
    if options.garbage == "chunk":
        frames, tail, end = [*frames[:1], b"ZZ;\x01\r\nnot a chunk\r\n"], b"", "drop"
    fault = _fault(options)
    if fault is not None:
        end, where = fault
        tail = b""
        if where == BEFORE_HEAD:
            head, frames = b"", []
        else:
            frames = frames[:where] if where > AFTER_HEAD else []
    return _assemble(head, frames, tail, end, options, random)


def _assemble(
    head: bytes, frames: list[Frame], tail: bytes, end: str, options: Options, random: Random
) -> Reply:
    if tail and (not frames or options.lockstep):
        frames.append(tail)
    elif tail:
        frames[-1] = _append(frames[-1], tail)
    if frames:
        frames[0] = _join(head, frames[0])
    elif head:
        frames = [head]
    size = sum(len(f) if isinstance(f, bytes) else 1024 for f in frames)
    paced = bool(options.pace or options.lockstep)
    if options.slice is not None:
        plain = [frame for frame in frames if isinstance(frame, bytes)]
        if not paced:
            plain = [b"".join(plain)]
        frames = [_slices(frame, options.slice, random) for frame in plain]
    reply = Reply(tuple(frames), end, options.ttft, options.pace, options.lockstep, size=size)
    return replace(reply, prelude=_EARLY) if options.early_hints else reply
