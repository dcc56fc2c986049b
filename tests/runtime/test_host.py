"""What the runtime knows of the processor, of recorded ones and this one."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from processors import PROCESSORS, Recorded

from tilewright.runtime.native import host
from tilewright.runtime.native.extensions import EXTENSIONS, needed, usable

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
every_processor = pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS)


def become(processor: Recorded, patch: pytest.MonkeyPatch) -> frozenset[str]:
    """Makes this machine one with that processor; its extensions."""
    found = host.features_of(processor.information, processor.architecture)
    patch.setattr(host, "features", lambda: found)
    patch.setattr(host, "architecture", lambda: processor.architecture)
    patch.setattr(host, "tiles_permitted", lambda: True)
    return found


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="reads /proc/cpuinfo")
def test_this_machine() -> None:
    known = EXTENSIONS.get(host.architecture(), {})
    assert usable(host.architecture(), host.features()) == host.features() & known.keys()
    assert host.missing(f"{host.architecture()}-unknown-linux-gnu", host.features()) is None


def test_a_sandbox_may_refuse_to_tell_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(process: int) -> set[int]:
        raise PermissionError(process)

    monkeypatch.setattr(os, "sched_getaffinity", refused, raising=False)
    assert 1 <= host.processors() <= (os.cpu_count() or 1)


@every_processor
def test_recorded_processors_have_what_code_for_them_uses(processor: Recorded) -> None:
    found = host.features_of(processor.information, processor.architecture)
    assert found >= set(processor.uses.split())


@every_processor
def test_what_an_older_compiler_listed_is_still_there(processor: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first compilers listed all that LLVM reported, also what the kernel has no name for."""
    become(processor, monkeypatch)
    listed = [name for name, here in processor.of_llvm.items() if here]
    assert host.missing(TRIPLES[processor.architecture], listed) is None


@pytest.mark.parametrize(
    ("made_on", "run_on", "lacking"),
    [
        ("Zen 2", "Haswell", "sse4a"),
        ("Skylake-X", "Zen 3", "avx512bw, avx512cd, avx512dq, avx512f, avx512vl"),
        ("Granite Rapids", "Sapphire Rapids", None),
        ("Zen 5", "Zen 4", "avxvnni"),
        ("Graviton 3", "Graviton 2", "sha3, sve"),
        ("Graviton 2", "Apple", None),
    ],
)
def test_elsewhere_it_must_have_what_kernels_may_use(
    made_on: str, run_on: str, lacking: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(PROCESSORS[run_on], monkeypatch)
    listed = [name for name, here in PROCESSORS[made_on].of_llvm.items() if here]
    found = host.missing(TRIPLES[PROCESSORS[made_on].architecture], listed)
    assert found == (lacking and f"this processor lacks {lacking}")


def test_only_what_every_core_has_counts() -> None:
    fast, slow = PROCESSORS["Sapphire Rapids"].cores[0], PROCESSORS["Alder Lake"].cores[0]
    both = host.features_of(f"processor : 0\nflags\t\t: {fast}\nprocessor : 1\nflags\t\t: {slow}\n", "x86_64")
    assert {"avx2", "avxvnni", "gfni"} <= both
    assert not any(name.startswith("avx512") for name in both)
    assert host.features_of("Features\t: asimddp i8mm\nFeatures\t: asimddp\n", "aarch64") == {"dotprod", "asimddp"}


def test_a_hidden_extension_takes_along_what_builds_upon_it() -> None:
    flags = PROCESSORS["Ice Lake"].cores[0].split()

    def without(*hidden: str) -> frozenset[str]:
        text = f"flags : {' '.join(flag for flag in flags if flag not in hidden)}"
        return host.features_of(text, "x86_64") & EXTENSIONS["x86_64"].keys()

    assert without() - without("avx512bw") == {"avx512bw", "avx512bitalg", "avx512vbmi", "avx512vbmi2"}
    assert without() - without("fma") == {"fma"} | {name for name in without() if name.startswith("avx512")}
    assert not {name for name in without("avx") if "avx" in name or name in ("fma", "f16c")}


def test_on_arm_the_system_is_asked_for_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the file, which is that of another machine under emulation."""
    bits = {16: 1 << 20 | 1 << 1, 26: 1 << 13}
    library = SimpleNamespace(getauxval=lambda key: bits[key])
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    monkeypatch.setattr(host, "architecture", lambda: "aarch64")
    assert host.features.__wrapped__() == {"asimd", "asimddp", "dotprod", "i8mm"}
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace())
    assert host.features.__wrapped__() == frozenset()


@pytest.mark.parametrize("text", ["", "flags", "flags :", "processor : 0", "model name : flags : avx2", "\0:\0"])
def test_texts_that_say_nothing(text: str) -> None:
    assert host.features_of(text, "x86_64") == frozenset()
    assert host.features_of(text, "riscv64") == frozenset()


def test_amx_takes_the_permission_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = sorted(become(PROCESSORS["Sapphire Rapids"], monkeypatch) & EXTENSIONS["x86_64"].keys())
    assert host.missing(TRIPLES["x86_64"], listed) is None
    with_tiles = host.description()
    monkeypatch.setattr(host, "tiles_permitted", lambda: False)
    reason = "the operating system does not permit this process to use AMX"
    assert host.missing(TRIPLES["x86_64"], listed) == reason
    assert host.missing(TRIPLES["x86_64"], [name for name in listed if not name.startswith("amx")]) is None
    assert set(with_tiles.split()) - set(host.description().split()) == {"amx-bf16", "amx-int8", "amx-tile"}


@pytest.mark.skipif(host.architecture() != "x86_64", reason="AMX is of x86-64")
def test_permission_is_there_where_the_processor_has_amx() -> None:
    assert host.tiles_permitted() <= ("amx-tile" in host.features())


def test_what_only_generators_name_is_needed_where_they_do() -> None:
    allowed = ["amx-int8", "amx-tile", "avx512bf16", "avx512f"]
    assert needed("x86_64", allowed, "fadd <16 x float> %a, %b") == ("avx512f",)
    tiles = "call void @llvm.x86.tilezero(i8 0)"
    assert needed("x86_64", allowed, tiles) == ("amx-tile", "avx512f")
    products = f"{tiles} call void @llvm.x86.tdpbusd(i8 0, i8 1, i8 2)"
    assert needed("x86_64", allowed, products) == ("amx-int8", "amx-tile", "avx512f")
    assert needed("x86_64", ["avx512f"], "fptrunc <16 x float> %a to <16 x bfloat>") == ("avx512f",)
    assert needed("x86_64", allowed, "fptrunc <16 x float> %a to <16 x bfloat>") == ("avx512bf16", "avx512f")


def test_says_what_is_missing() -> None:
    here = f"{host.architecture()}-unknown-linux-gnu"
    assert host.missing(here, []) is None
    assert host.missing(here, ["tensorcore", "abacus", "rdseed"]) == "this processor lacks abacus, tensorcore"
    assert host.missing("riscv64-unknown-linux-gnu", []) == f"it is for riscv64, this machine is {host.architecture()}"


@pytest.mark.parametrize("architecture", EXTENSIONS)
def test_the_table_names_what_it_builds_upon(architecture: str) -> None:
    table = EXTENSIONS[architecture]
    assert usable(architecture, table.keys()) == table.keys()
    assert list(table) == sorted(table)
