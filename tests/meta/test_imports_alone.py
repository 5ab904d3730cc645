"""Each module can be imported first, without a warning; serving imports no more than it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.meta.sources import ROOT, modules, name_of

# The control plane's and other doors' libraries: 0.1-0.5 s of start-up that a call does not need.
HEAVY = (
    "aiohttp", "genai_prices", "h2", "hypercorn", "prometheus_client", "pydantic",
    "splintr", "starlette",
)  # fmt: skip

PACKAGES = sorted({name_of(path).split(".")[1] for path in modules() if path.stem != "__init__"
                   or path.parent.name != "muxproxy"})  # fmt: skip

ALONE = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m == "muxproxy" or m.startswith("muxproxy.")]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""

SERVE = """
import sys
import muxproxy.server, muxproxy.cli.serve
print(*sorted(m for m in sys.argv[1:] if m in sys.modules))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with every warning an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        timeout=600,  # a machine may be busy; whoever hangs is ended
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_can_be_imported_first(package: str) -> None:
    names = [name for path in modules() if (name := name_of(path)).split(".")[1:2] == [package]]
    names = [name for name in names if not name.endswith(".__main__")]
    done = python("-c", ALONE, *names)
    assert done.returncode == 0, done.stderr


def test_serving_imports_nothing_that_a_call_does_not_need() -> None:
    done = python("-c", SERVE, *HEAVY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
