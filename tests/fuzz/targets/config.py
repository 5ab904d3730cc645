"""Configurations: read, or their faults told."""

from __future__ import annotations

from muxproxy.config.loaded import read

SEEDS = [
    b"providers:\n  openai: {api_key: k, base_url: http://127.0.0.1:1/v1}\n",
    b"server: {listen: 127.0.0.1:0}\nmodels: {a: [openai/m, {model: x, weight: 2}]}\n",
    b"rules:\n- name: a\n  when: {model: gpt-*}\n  then: {deny: no}\nbudgets:\n- {limit: 5 USD}\n",
    b"x: &a [1, 2]\ny: *a\nz: {<<: *a}\n",
]
TOKENS = [
    *(b"providers:", b"rules:", b"models:", b"budgets:", b"server:", b"\n", b"  ", b"- ", b"{"),
    *(b"}", b"[", b"]", b": ", b"${A}", b"${B:-c}", b"&x", b"*x", b"<<: ", b"|", b">", b"#", b"!!"),
    *(
        b"1h",
        b"5 USD",
        b"10MiB",
        b"1e309",
        b"0x7f",
        b"-1",
        b"true",
        b"~",
        b"\t",
        b"\xff",
        b"\xc2\x85",
    ),
]


def check(data: bytes) -> None:
    text = data[:2048].decode("utf-8", "replace")
    if "include" in text:
        return  # names files
    loaded = read(text, "fuzz.yaml", {"A": "a"})
    assert all(str(fault) for fault in loaded.faults)
