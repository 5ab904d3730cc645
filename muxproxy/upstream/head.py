"""Request heads: rendered once per exchange, with nothing a caller gives able to add a line."""

import re

from muxproxy.errors import MuxError
from muxproxy.headers import Headers, Shared
from muxproxy.upstream.egress import ProxyAddress
from muxproxy.upstream.spec import OriginSpec, Request

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_TARGET = re.compile(rb"/[\x21-\x7e\x80-\xff]*|\*")  # no space, no control
# Framing and routing are ours to write.
_OURS = frozenset({b"host", b"content-length", b"transfer-encoding"})
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
# Methods whose empty body is stated (RFC 9110 section 8.6).
_EXPECT_BODY = frozenset({b"POST", b"PUT", b"PATCH"})
# Field names remembered per origin: more than any client set sends, bounded against a hostile one.
_MAX_NAMES = 512
_MAX_SHARED = 64  # targets for which shared fields are remembered


class Heads:
    """Renders the heads for one origin; remembers field names that it has checked."""

    __slots__ = ("_before", "_lines", "_names", "_suffix")

    def __init__(self, spec: OriginSpec, proxy: ProxyAddress | None) -> None:
        authority = spec.authority.encode("ascii")
        # Through a plain proxy an http origin is asked for in absolute form (RFC 9112 3.2.2).
        absolute = proxy is not None and spec.scheme == "http"
        self._before = b" http://" + authority if absolute else b" "
        self._suffix = b" HTTP/1.1\r\nhost: " + authority
        if absolute and proxy is not None and proxy.authorization:
            self._suffix += b"\r\nproxy-authorization: " + proxy.authorization
        self._lines = self._suffix.count(b"\n")
        self._names: dict[bytes, bytes] = {}  # checked name -> what goes before its value

    def render(self, request: Request) -> bytes:
        """The head including its empty line.

        Raises MuxError("invalid_request") for a method, target, name or value that cannot stand
        in a head (RFC 9112 sections 2.2 and 11.1).
        """
        method, target, body = request.method, request.target, request.body
        headers = request.headers
        if isinstance(headers, Shared) and isinstance(body, bytes):
            key, end = (self, method, target), _stated(method, body)
            known = headers.rendered.get(key)
            if known is None:
                known = self._render(request)[: -len(end)]
                if len(headers.rendered) >= _MAX_SHARED:
                    headers.rendered.clear()
                headers.rendered[key] = known
            return known + end
        return self._render(request)

    def _render(self, request: Request) -> bytes:
        method, target = request.method, request.target
        if method not in _METHODS and (not _TOKEN.fullmatch(method) or method == b"CONNECT"):
            raise MuxError("invalid_request", "the request method cannot be forwarded")
        if not _TARGET.fullmatch(target):
            raise MuxError("invalid_request", "the request target cannot be forwarded")
        headers, names = request.headers, self._names
        try:
            fields = [names[name] + value for name, value in headers]
        except KeyError:
            fields = self._slowly(headers)
        lines = self._lines + len(fields) + 2
        body = request.body
        if not isinstance(body, bytes):
            if request.length is None:
                fields.append(b"\r\ntransfer-encoding: chunked\r\n\r\n")
            else:
                fields.append(b"\r\ncontent-length: %d\r\n\r\n" % request.length)
            lines += 1
        else:
            fields.append(_stated(method, body))
            lines += fields[-1].count(b"\n") - 2
        head = b"".join((method, self._before, target, self._suffix, *fields))
        # Every line break is one of ours, so no value brought one.
        if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
            raise MuxError("invalid_request", "a request header cannot be forwarded")
        return head

    def _slowly(self, headers: Headers) -> list[bytes]:
        """The fields, with names not met before (ours among them, which are never learnt)."""
        fields = []
        for name, value in headers:
            before = self._names.get(name)
            if before is None:
                if not _TOKEN.fullmatch(name):
                    message = "a request header's name cannot be forwarded"
                    raise MuxError("invalid_request", message)
                if name.lower() in _OURS:
                    continue
                before = b"\r\n" + name + b": "
                if len(self._names) < _MAX_NAMES:
                    self._names[name] = before
            fields.append(before + value)
        return fields


def _stated(method: bytes, body: bytes) -> bytes:
    """The end of a head, which says how long a body of bytes is."""
    if body or method in _EXPECT_BODY:
        return b"\r\ncontent-length: %d\r\n\r\n" % len(body)
    return b"\r\n\r\n"
