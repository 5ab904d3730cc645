"""Which tunnels are opened, which pass unread, which are refused; and what the log is told.

The doors ask; the answers come from the snapshot in force and from the local CA. A tunnel to a
provider must never pass unread by accident: its calls would slip past the budgets.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from muxproxy import logs
from muxproxy.auth import PROXY_REALM
from muxproxy.ca import names
from muxproxy.ca.files import Folder
from muxproxy.config.model import Config
from muxproxy.errors import MuxError
from muxproxy.headers import Headers, went_in_circles
from muxproxy.proxy import Snapshot

if TYPE_CHECKING:
    from muxproxy.ca.leaves import Leaves

Verdict = Literal["tunnel", "intercept"] | MuxError

# How long a fail-open host's tunnels pass unread after a client refused our certificate.
FAIL_OPEN_SECONDS = 600.0
_KEPT = 1024  # hosts remembered at most, to log each once


class Interception:
    """See the module. `snapshot` gives the configuration in force, `inside(host)` raises MuxError
    for an address that no tunnel may lead to."""

    def __init__(self, snapshot: Callable[[], Snapshot], inside: Callable[[str], None]) -> None:
        self._snapshot = snapshot
        self._inside = inside
        self._log = logs.logger()
        self._version = 0
        self._folder = Folder("")
        self._leaves: Leaves | None = None
        self._opened: dict[str, float] = {}  # fail-open host -> until when
        self._told: set[str] = set()
        self.off = False

    # -- the configuration ------------------------------------------------------------------

    def configure(self, config: Config) -> None:
        """Take the settings of a configuration. A CA that cannot be used is logged, no fault: the
        rest of muxproxy works without it."""
        self.off = config.intercept == "off"
        self._globs = names.settings(config).hosts
        self._fail_open = names.settings(config).fail_open
        folder = Folder(names.settings(config).ca)
        if folder.path != self._folder.path:
            self._folder, self._version, self._leaves = folder, 0, None
        if not self.off:
            self._load()
            self._complain_about(names.wanted(config))

    def _load(self) -> None:
        """Read the CA if it changed: cryptography is imported only where there is one."""
        version = self._folder.version()
        if version == self._version:
            return
        self._version = version
        self._leaves = None
        if not version:
            return
        from muxproxy.ca.authority import BrokenAuthority, load  # noqa: PLC0415
        from muxproxy.ca.leaves import Leaves  # noqa: PLC0415

        try:
            authority = load(self._folder)
        except BrokenAuthority as error:
            self._log.error(str(error))
            return
        if authority is None:
            return
        if authority.ends.timestamp() < time.time():
            self._log.error(f"the CA in {self._folder.path} has expired: run `muxproxy ca`")
            return
        self._leaves = Leaves(authority)

    def _complain_about(self, wanted: list[str]) -> None:
        leaves = self._leaves
        if leaves is None:
            return
        missing = names.uncovered(wanted, leaves.authority.names)
        if missing:
            self._log.warning(
                f"the CA does not cover {', '.join(missing)}: tunnels there are refused until "
                "`muxproxy ca` has issued a new certificate and clients trust it"
            )

    # -- what doors ask ---------------------------------------------------------------------

    def connect(self, host: str, port: int, headers: Headers) -> Verdict:
        """CONNECT host:port."""
        if went_in_circles(headers):
            return MuxError(
                "loop_detected",
                "this CONNECT comes from muxproxy itself: HTTPS_PROXY (or a provider's proxy:) "
                "leads back here; set proxy: none, or unset HTTPS_PROXY where muxproxy runs",
            )
        auth = self._snapshot().auth
        if auth.required and not auth.proxy_caller(headers):
            return MuxError(
                "proxy_unauthorized",
                "tunnels need a key of this proxy: put one into the proxy's URL, as in "
                "http://KEY@127.0.0.1:8787",
                headers=[PROXY_REALM],
            )
        return self.towards(host, port)

    def towards(self, host: str, port: int) -> Verdict:
        """What becomes of bytes for that host, by whatever name it was learnt."""
        snapshot = self._snapshot()
        name = names.plain(host)
        provider = snapshot.provider_at(host, port)
        if not self.off and (provider is not None or names.matches(name, self._globs)):
            if self._opened and self._opened.get(name, 0.0) > time.time():
                return "tunnel"
            return self._opening(name, provider)
        if provider is None and snapshot.config.server.connect == "refuse":
            return MuxError("forbidden", "tunnels are refused here (server.connect: refuse)")
        if provider is None:
            try:
                self._inside(host)
            except MuxError as error:
                return error
        return "tunnel"

    def permits(self, host: str, address: str, port: int) -> bool:
        """Whether a tunnel to `host` may lead to what that resolved to."""
        snapshot = self._snapshot()
        mapped = getattr(ip_address(address.partition("%")[0]), "ipv4_mapped", None)
        known = snapshot.provider_at(host, port) is not None
        if not (self.off or known) and snapshot.provider_at(str(mapped or address), port):
            return False  # a provider's own address under a name that says nothing
        if known:
            return True
        try:
            self._inside(address)
        except MuxError:
            return False
        return True

    def _opening(self, name: str, provider: str | None) -> Verdict:
        self._load()  # `muxproxy ca` may have been run since: one stat per CONNECT
        leaves = self._leaves
        if leaves is not None and leaves.covers(name):
            return "intercept"
        whose = f"{name} belongs to provider {provider}" if provider else f"{name} is intercepted"
        why = "there is no CA yet" if leaves is None else "the CA does not cover that name"
        return MuxError(
            "not_implemented",
            f"{whose}: its calls are metered here, so a blind tunnel to it is refused, and {why}. "
            "Run `muxproxy ca` and let the client trust it, or set base_url (OPENAI_BASE_URL, "
            "ANTHROPIC_BASE_URL, GOOGLE_GEMINI_BASE_URL) to this proxy's http:// address",
        )

    def context(self, host: str) -> ssl.SSLContext:
        """TLS as `host`. Raises ValueError where the CA may not."""
        if self._leaves is None:
            raise ValueError("there is no CA")
        return self._leaves.context(names.plain(host))

    def rejected(self, host: str, reason: str) -> None:
        """A client broke off its handshake with us: most likely it does not know the CA."""
        name = names.plain(host)
        opens = names.matches(name, self._fail_open)
        if opens:
            self._remember(name)
        self._tell(
            f"rejected {name}",
            f"a client refused our certificate for {name} ({reason}): it has to trust "
            f"{self._folder.cert}; `muxproxy ca --env` prints the variables that programs read "
            "(SSL_CERT_FILE, NODE_EXTRA_CA_CERTS ...)"
            + (
                f". fail_open: for {FAIL_OPEN_SECONDS / 60:.0f} minutes its tunnels pass unread, "
                "their calls are neither metered nor held to budgets"
                if opens
                else ""
            ),
        )

    def hidden(self, host: str, name: str) -> None:
        """A tunnel to `host` turned out to be for a provider and could not be read."""
        self._tell(
            f"hidden {name}",
            f"a tunnel to {host} was broken off: inside, the client asked for {name}, which is a "
            "provider's and can only be read with a CA that covers it (`muxproxy ca`)",
        )

    def _remember(self, name: str) -> None:
        if len(self._opened) >= _KEPT:
            self._opened.clear()
        self._opened[name] = time.time() + FAIL_OPEN_SECONDS

    def _tell(self, key: str, text: str) -> None:
        """Once per host."""
        if key not in self._told and len(self._told) < _KEPT:
            self._told.add(key)
            self._log.warning(text)
