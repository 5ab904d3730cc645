"""All candidates' figures and circuits; lives as long as the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from muxproxy.proxy.health.circuit import CLOSED, OPEN, Circuit, Terms
from muxproxy.proxy.health.figures import Live

# Models remembered per provider: callers may name any.
REMEMBERED = 1024
_DEFAULT = Terms()


class Health:
    """`opened` counts, per provider and model, how often its circuit opened."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.opened: dict[tuple[str, str], int] = {}
        self._providers: dict[str, dict[str, Live]] = {}
        self._terms: Mapping[str, Terms] = {}
        self._down: set[str] = set()  # providers that do not answer their probes

    def configure(self, terms: Mapping[str, Terms]) -> None:
        """The breakers' terms by provider, after a reload too; open circuits stay open."""
        self._terms = terms

    # -- for the exchanges ------------------------------------------------------------------

    def of(self, provider: str, model: str) -> Live:
        """The figures of one candidate."""
        models = self.models_of(provider)
        live = models.get(model)
        if live is None:
            if len(models) >= REMEMBERED:
                idle = [m for m, x in models.items() if not x.in_flight and x.circuit is None]
                for one in idle[: REMEMBERED // 2]:
                    del models[one]
            live = models[model] = Live(model)
        return live

    def models_of(self, provider: str) -> dict[str, Live]:
        """By model, those that were asked; the one dictionary for the process's life."""
        return self._providers.setdefault(provider, {})

    def admits(self, provider: str, model: str) -> bool:
        """Whether the candidate is worth asking; False: others first."""
        if provider in self._down:
            return False
        circuit = self.of(provider, model).circuit
        return circuit is None or circuit.admits(self.clock())

    def failed(self, provider: str, live: Live) -> bool:
        """An attempt failed in a way that speaks against the candidate; True: it opened."""
        if live.circuit is None:
            live.circuit = Circuit(self._terms.get(provider, _DEFAULT))
        opened = live.circuit.failed(self.clock())
        if opened:
            key = provider, live.model
            self.opened[key] = self.opened.get(key, 0) + 1
        return opened

    # -- for the probes ---------------------------------------------------------------------

    def down(self, provider: str) -> bool:
        """It does not answer; True: that is news."""
        news = provider not in self._down
        self._down.add(provider)
        return news

    def up(self, provider: str) -> bool:
        """It answers: open circuits may be tried by a call at once. True: it was down."""
        now = self.clock()
        for live in self.models_of(provider).values():
            if live.circuit is not None and live.circuit.until:
                live.circuit.until = min(live.circuit.until, now)
        news = provider in self._down
        self._down.discard(provider)
        return news

    def forget_down(self, probed: set[str]) -> None:
        """Those that are no longer probed are not down."""
        self._down &= probed

    # -- for everyone who reads -------------------------------------------------------------

    def state(self, provider: str, model: str) -> str:
        """closed, open or half_open."""
        if provider in self._down:
            return OPEN
        live = self._find(provider, model)
        if live is None or live.circuit is None:
            return CLOSED
        return live.circuit.state(self.clock())

    def in_flight(self, provider: str, model: str) -> int:
        """Calls under way."""
        live = self._find(provider, model)
        return 0 if live is None else live.in_flight

    def latency(self, provider: str, model: str) -> float | None:
        """Seconds to the first byte, smoothed."""
        live = self._find(provider, model)
        return None if live is None or not live.ewma_us else live.ewma_us / 1e6

    def p95(self, provider: str, model: str) -> float | None:
        """Seconds to the first byte that 95 of 100 calls stayed within."""
        live = self._find(provider, model)
        return None if live is None else live.percentile(0.95)

    def models(self, provider: str) -> Iterator[dict[str, object]]:
        """Each model's figures, for pages."""
        now = self.clock()
        for live in self._providers.get(provider, {}).values():
            circuit = live.circuit
            yield {
                "model": live.model,
                "state": OPEN
                if provider in self._down
                else CLOSED
                if circuit is None
                else circuit.state(now),
                "failures": 0 if circuit is None else circuit.failures,
                "opens_again_in_s": None
                if circuit is None or not circuit.until
                else round(max(circuit.until - now, 0.0), 3),
                "opened_total": self.opened.get((provider, live.model), 0),
                "in_flight": live.in_flight,
                "latency_ms": round(live.ewma_us / 1000, 3) if live.ewma_us else None,
            }

    def _find(self, provider: str, model: str) -> Live | None:
        models = self._providers.get(provider)
        return None if models is None else models.get(model)

    def providers(self) -> Iterator[str]:
        """Those that were ever asked."""
        yield from self._providers
