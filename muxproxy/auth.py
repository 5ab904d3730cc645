"""Who calls: headers -> Caller.

A credential is looked for where the dialects' SDKs put one: `authorization: Bearer`,
`x-api-key`, `x-goog-api-key`, `api-key`, `?key=`; and, for requests sent through us as a proxy,
in `proxy-authorization`, as the user or the password of the proxy's URL. Keys are compared by
their SHA-256, so the time a comparison takes says nothing about them. A Caller's name is never a
secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from muxproxy.config.model import Auth, Key
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller

ANONYMOUS = Caller()
REMEMBERED = 4096  # credentials whose hash is remembered
LONGEST_NAME = 256  # characters of a user or run name that are kept

_PLACES = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"})
_RUN = b"x-muxproxy-run"
_PROXY = b"proxy-authorization"
# With a 407 (RFC 9110 section 11.7.1).
PROXY_REALM = (b"proxy-authenticate", b'Basic realm="muxproxy"')


class Authenticator:
    """Recognises callers. Raises ValueError when the configuration cannot be served."""

    def __init__(self, auth: Auth, keys: Sequence[Key]) -> None:
        """`keys` have their environment references resolved; one whose value is empty is off."""
        if auth.mode == "jwt":
            raise ValueError("auth.mode: jwt is not available yet; use keys or open")
        self.required = auth.mode == "keys"
        # What is said of a request's head holds as long as the configuration does.
        self.lasting = True
        self._user_header = auth.user_header.lower().encode() if auth.user_header else None
        self._run_header = auth.run_header.lower().encode() if auth.run_header else None
        self._run = auth.run
        self._keys: dict[str, Caller] = {}
        for key in keys:
            digest = key.sha256.lower() if key.sha256 else _digest((key.value or "").encode())
            if not key.sha256 and not key.value:
                continue
            self._keys[digest] = Caller(
                key=key.name,
                user=key.user,
                team=key.team,
                tags=tuple(key.tags),
                models=None if key.models is None else tuple(key.models),
                ours=True,
            )
        if self.required and not self._keys:
            raise ValueError("auth.mode: keys needs at least one key with a value (keys:)")
        self._known: dict[bytes, Caller | None] = {}

    def caller(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        ask_user: str | None = None,
        query: bytes = b"",
    ) -> Caller:
        """The caller of a request. `ask_user` is the body's user, if it was read already.

        Raises MuxError unauthorized (401) in keys mode when no credential is one of ours.
        """
        found: Caller | None = None
        stranger: Caller | None = None
        user: str | None = None
        run: str | None = None
        other_run: str | None = None
        for name, value in headers:
            if name in _PLACES:
                if found is None and (secret := _secret(name, value)):
                    known = self._recognise(secret)
                    if known.ours:
                        found = known
                    else:
                        stranger = stranger or known
            elif name == _PROXY:
                found = found or self._proxy_key(value)
            elif name == _RUN:
                run = _text(value)
            elif name == self._user_header:
                user = _text(value)
            elif name == self._run_header:
                other_run = _text(value)
        if found is None and query and (secret := _query_key(query)):
            known = self._recognise(secret)
            if known.ours:
                found = known
            else:
                stranger = stranger or known
        if found is None:
            if self.required:
                raise _unauthorized(stranger is not None)
            found = stranger or ANONYMOUS
        user = found.user or user or ask_user or None
        run = self._run or run or other_run
        if user is None and run is None:
            return found
        return Caller(
            key=found.key,
            user=user,
            team=found.team,
            tags=found.tags,
            run=run,
            models=found.models,
            ours=found.ours,
        )

    def ours(self, headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
        """Names of the headers that carry one of our keys: they never go upstream."""
        return frozenset(
            name
            for name, value in headers
            if name in _PLACES and (secret := _secret(name, value)) and self._recognise(secret).ours
        )

    def ours_in(self, query: bytes) -> bool:
        """Whether `key=` holds one of our keys."""
        secret = _query_key(query)
        return secret is not None and self._recognise(secret).ours

    def proxy_caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller | None:
        """Whose key `proxy-authorization` holds; None: nobody's."""
        return next(
            (c for name, value in headers if name == _PROXY and (c := self._proxy_key(value))), None
        )

    def _proxy_key(self, value: bytes) -> Caller | None:
        """Basic with the key for a user or a password, or Bearer. Other credentials are none of
        ours: they must not name a caller."""
        scheme, _, rest = value.partition(b" ")
        secrets = [rest.strip()]
        if scheme.lower() == b"basic":
            try:
                user, _, password = base64.b64decode(rest.strip(), validate=True).partition(b":")
            except binascii.Error:
                return None
            secrets = [user, password]
        elif scheme.lower() != b"bearer":
            return None
        return next((c for s in secrets if s and (c := self._recognise(s)).ours), None)

    def _recognise(self, secret: bytes) -> Caller:
        known = self._known.get(secret)
        if known is None:
            digest = _digest(secret)
            known = self._keys.get(digest) or Caller(key=f"k-{digest[:12]}")
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[secret] = known
        return known


def with_user(caller: Caller, ask_user: str | None) -> Caller:
    """The caller with the body's user, where neither the key nor a header named one."""
    if not ask_user or caller.user is not None:
        return caller
    return msgspec.structs.replace(caller, user=ask_user[:LONGEST_NAME])


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def _secret(name: bytes, value: bytes) -> bytes | None:
    if name != b"authorization":
        return value.strip() or None
    scheme, _, rest = value.partition(b" ")
    return rest.strip() or None if scheme.lower() == b"bearer" else None


def _query_key(query: bytes) -> bytes | None:
    """The value of `key=`, spelt so: nothing else is taken out on the way up."""
    for part in query.split(b"&"):
        if part.startswith(b"key=") and len(part) > 4:
            return unquote_to_bytes(part[4:].replace(b"+", b" "))
    return None


def _text(value: bytes) -> str | None:
    return value.decode("utf-8", "replace").strip()[:LONGEST_NAME] or None


def _unauthorized(given: bool) -> MuxError:
    what = "The API key is not one of this proxy's" if given else "An API key is missing"
    return MuxError(
        "unauthorized",
        f"{what}. Send a key of `keys:` where your SDK puts the provider's key "
        "(authorization: Bearer, x-api-key, x-goog-api-key, api-key or ?key=).",
        headers=[(b"www-authenticate", b"Bearer")],  # RFC 9110 section 11.6.1
    )
