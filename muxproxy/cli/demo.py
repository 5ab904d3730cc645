"""`serve --demo`: every provider of the configuration answered by simulated ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from muxproxy.config.env import Flags
from muxproxy.config.load import load_file


class Demo:
    """The simulator beside the server, as a process of its own."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    def overrides(self, path: str | None, env: Mapping[str, str], flags: Flags) -> dict[str, Any]:
        """Start the simulator; the providers as configured, but answered by it.

        Raises ConfigError, and OSError when the simulator does not start.
        """
        config = load_file(path, env, flags).config
        self._process = subprocess.Popen(
            [sys.executable, "-m", "muxproxy", "sim", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError("the simulated providers did not start")
        self._url = _url(line)
        return {
            "providers": {
                name: msgspec.structs.replace(
                    provider,
                    base_url=self._url + urlsplit(provider.base_url).path,
                    # HTTP_PROXY names the real host: that call must not leave the machine either.
                    hosts=[*provider.hosts, urlsplit(provider.base_url).hostname or ""],
                    api_key="demo",
                    api_keys=[],
                    missing_key=None,
                    proxy="none",
                )
                for name, provider in config.providers.items()
            }
        }

    def announce(self) -> None:
        """Say so: nobody should take simulated words for a model's."""
        print(
            f"DEMO: simulated providers at {self._url} answer every call; no key is used and "
            "nothing leaves this machine",
            file=sys.stderr,
        )

    def stop(self) -> None:
        """End the simulator."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(5)
            if self._process.stdout is not None:
                self._process.stdout.close()


def _url(line: str) -> str:
    """The address in the simulator's ready line (JSON with `url`, or the URL itself)."""
    try:
        return str(json.loads(line)["url"]).rstrip("/")
    except (ValueError, KeyError, TypeError):
        return line.rsplit(maxsplit=1)[-1].rstrip("/")
