"""How a fault reads, and what it suggests."""

from __future__ import annotations

import pytest

from muxproxy.config.faults import ConfigError, Fault, nearest, suggestion


def test_a_fault_reads_like_a_compilers():
    fault = Fault(path="f.yaml", line=3, column=5, message="bad", hint="mend it", field="a.b")
    assert str(fault) == "f.yaml:3:5: a.b: bad (mend it)"
    assert str(Fault(path="environment", line=0, column=0, message="bad")) == "environment: bad"
    assert str(ConfigError([fault, fault])) == f"{fault}\n{fault}"


@pytest.mark.parametrize(
    ("name", "want"),
    [("lisen", "listen"), ("drain-timeout", "drain_timeout"), ("Listen", "listen"), ("zzz", None)],
)
def test_the_nearest_name(name, want):
    assert nearest(name, ["listen", "drain_timeout", "rules"]) == want


def test_few_names_are_listed_many_are_not():
    assert suggestion("zzz", ["b", "a"]) == "valid: a, b"
    assert suggestion("zzz", [f"name{i}" for i in range(99)]) == ""
    assert suggestion("zzz", []) == ""
