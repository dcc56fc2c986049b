"""What the runtime knows of the processor, compared with LLVM."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

from tilewright.runtime.native import host

VECTOR_FEATURES = [
    "sse2",
    "sse4.1",
    "sse4.2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vnni",
    "avxvnni",
]


@pytest.mark.skipif(host.operating_system() != "linux", reason="reads /proc/cpuinfo")
def test_agrees_with_llvm() -> None:
    everything = dict(llvm.get_host_cpu_features())
    known = host.features()
    for feature in VECTOR_FEATURES if host.architecture() == "x86_64" else ["neon", "dotprod", "lse"]:
        assert (feature in known) == everything.get(feature, False), feature
    assert host.missing(llvm.get_process_triple(), [name for name, here in everything.items() if here]) is None


def test_only_what_every_processor_has_counts() -> None:
    text = "processor : 0\nflags\t\t: fpu sse4_2 avx512_vnni abm\n\nprocessor : 1\nflags\t\t: fpu sse4_2 abm\n"
    assert host.features_of(text, "x86_64") == {"fpu", "sse4.2", "crc32", "lzcnt", "popcnt"}
    assert host.features_of("Features\t: fp asimd asimddp i8mm", "aarch64") == {"fp-armv8", "neon", "dotprod", "i8mm"}
    assert host.features_of("", "x86_64") == frozenset()


def test_says_what_is_missing() -> None:
    here = f"{host.architecture()}-unknown-linux-gnu"
    assert host.missing(here, []) is None
    assert host.missing(here, ["tensorcore", "abacus", "rdseed"]) == "this processor lacks abacus, tensorcore"
    assert host.missing("riscv64-unknown-linux-gnu", []) == f"it is for riscv64, this machine is {host.architecture()}"
