"""Our pooled HTTP/1.1 client.

Upstreams.send(origin, Request) -> Reply (head) -> Reply.pump(Consumer) (body)

client      pools by origin, the stale retry        pool        connections to one origin
connection  one socket, its deadlines               response    framing, sans I/O
reply       one answer: head, body, back-pressure   upload      a streamed request body
dial        DNS, TCP, egress proxy, TLS             head        the request's head
egress      which proxy a URL needs                 resolve, trust   caches for dial
"""

from muxproxy.upstream.client import Upstreams
from muxproxy.upstream.egress import egress_proxy, without_own
from muxproxy.upstream.origins import origin_of, spec_from
from muxproxy.upstream.pool import Origin
from muxproxy.upstream.reply import Reply
from muxproxy.upstream.resolve import Resolver
from muxproxy.upstream.spec import Consumer, OriginSpec, OriginStats, Request, Times, UpstreamError

__all__ = [
    "Consumer",
    "Origin",
    "OriginSpec",
    "OriginStats",
    "Reply",
    "Request",
    "Resolver",
    "Times",
    "UpstreamError",
    "Upstreams",
    "egress_proxy",
    "origin_of",
    "spec_from",
    "without_own",
]
