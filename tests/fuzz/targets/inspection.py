"""Request bodies: understood, or refused with 400 or 413."""

from __future__ import annotations

from muxproxy.dialects.paths import classify
from muxproxy.errors import MuxError
from muxproxy.inspection import inspect
from muxproxy.proxy.affinity import _beginning

_PATHS = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1beta/models/m:generateContent",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/images/edits",
    "/v1/audio/transcriptions",
)
SEEDS = [
    bytes([0]) + b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":5}',
    bytes([1]) + b'{"model":"m","system":[{"type":"text","text":"a"}],"messages":[],"stream":true}',
    bytes([2]) + b'{"model":"m","input":[{"role":"user","content":[{"type":"input_text"}]}]}',
    bytes([3]) + b'{"contents":[{"parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png"}}]}]}',
    bytes([4]) + b'{"model":"m","input":["a",[1,2],null]}',
    bytes([5]) + b'{"model":"m","prompt":["a"],"n":3,"best_of":9}',
    bytes([6]) + b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n',
]
TOKENS = [
    *(b'"model":', b'"messages":[', b'"role":"user"', b'"content":', b'"stream":true', b'"n":'),
    *(
        b"1e999",
        b"-0",
        b'"\\ud800"',
        b"[[[[[[[[[[",
        b"{",
        b"}",
        b"]",
        b",",
        b"null",
        b"\xff",
        b"\0",
    ),
    *(b'"type":"image_url"', b'"max_tokens":', b"99999999999999999999", b'"tools":[', b"NaN"),
    *(b"--b\r\n", b"Content-Disposition: form-data; name=", b"\r\n\r\n", b"--b--", b"filename="),
]
_FORM = [(b"content-type", b"multipart/form-data; boundary=b")]


def check(data: bytes) -> None:
    if not data:
        return
    path, body = _PATHS[data[0] % len(_PATHS)], data[1:4096]
    _beginning(body)
    try:
        inspect(classify("POST", path), body, _FORM if body.startswith(b"--") else ())
    except MuxError as error:
        assert error.status in (400, 413, 415), error
