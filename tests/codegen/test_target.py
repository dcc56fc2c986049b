"""Descriptions of processors, and that code keeps to what they allow."""

from __future__ import annotations

import re
from collections.abc import Mapping

import llvmlite.binding as llvm
import pytest
from kernel_harness import described
from processors import PROCESSORS, Recorded

from tilewright.codegen.cpu.assemble import KernelCall, Location, assemble
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.convolutions.convolution import Convolution
from tilewright.codegen.cpu.kernels.products.float_product import FloatProduct
from tilewright.codegen.cpu.kernels.window import Axis
from tilewright.codegen.cpu.llvm.target import NAMED_TARGETS, PORTABLE, NamedTarget, TargetDescription, allowed, machine
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.errors import UsageError
from tilewright.ir.core import Op, Value
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.fused import FusedElementwise
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.native import host as machine_here
from tilewright.runtime.native.extensions import EXTENSIONS, usable
from tilewright.runtime.native.host import features_of, missing

every_processor = pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS)


def convolution() -> KernelSpec:
    axis = Axis(12, 12, 3, 1, 1, 1)
    return Convolution(1, 32, axis, axis, 32, has_bias=True)


def assembly(spec: KernelSpec, target: TargetDescription) -> str:
    code_generator = machine(target)
    module = llvm.parse_assembly(spec.generate(target).text)
    module.triple = target.triple
    module.data_layout = str(code_generator.target_data)
    return code_generator.emit_assembly(module)


def code_for(processor: Recorded, more: str = "", of_llvm: Mapping[str, bool] | None = None) -> frozenset[str]:
    """Extensions that code for a processor may use; ``more`` are further flags in ``/proc/cpuinfo``."""
    cores = tuple(f"{flags} {more}" for flags in processor.cores)
    here = features_of(processor._replace(cores=cores).information, processor.architecture)
    allowed_here = allowed(processor.architecture, here, processor.of_llvm if of_llvm is None else of_llvm)
    assert allowed_here <= here & EXTENSIONS[processor.architecture].keys(), "a compile on a machine loads on it"
    return allowed_here


def test_host_is_described() -> None:
    host = TargetDescription.host()
    assert host == TargetDescription.named("host")
    assert host.lanes * 32 == host.vector_bits
    assert missing(host.triple, host.features) is None
    assert missing(host.triple, TargetDescription.named("portable").features) is None


@every_processor
def test_recorded_processors(processor: Recorded) -> None:
    found = code_for(processor)
    assert found >= set(processor.uses.split())
    assert not found & set(processor.lacks.split())
    target = TargetDescription.of(f"{processor.architecture}-unknown-linux-gnu", "generic", found)
    assert (target.vector_bits, target.has_fma) == (processor.bits, True)


@every_processor
def test_names_of_the_future_change_nothing(processor: Recorded) -> None:
    later = dict.fromkeys(("avx11.3", "amx-fp4", "sve9", "tensorcore"), True)
    assert code_for(processor, "avx11_3 amx_fp4 sve9", {**processor.of_llvm, **later}) == code_for(processor)


def test_what_kernel_and_llvm_disagree_about_is_not_used() -> None:
    processor = PROCESSORS["Sapphire Rapids"]
    everything, tiles = code_for(processor), {"amx-bf16", "amx-int8", "amx-tile"}
    hidden = {"amx_tile", "avx512_vnni", "avx512_fp16"}
    masked = processor._replace(cores=(" ".join(f for f in processor.cores[0].split() if f not in hidden),))
    assert everything - code_for(masked, of_llvm=processor.of_llvm) == {"avx512vnni", "avx512fp16", *tiles}
    of_llvm = {**processor.of_llvm, "amx-tile": False, "avx512bw": False}
    assert everything - code_for(processor, of_llvm=of_llvm) == {
        *tiles,
        "avx512bf16",
        "avx512bitalg",
        "avx512bw",
        "avx512fp16",
        "avx512vbmi",
        "avx512vbmi2",
    }
    assert code_for(processor, of_llvm={}) == frozenset(), "nothing of x86-64 that this LLVM does not know"


@pytest.mark.parametrize(("name", "registers"), [("Zen 2", "ymm"), ("Granite Rapids", "zmm"), (None, "xmm")])
def test_code_uses_what_is_allowed_and_no_more(name: str | None, registers: str) -> None:
    """The name of a processor chooses what is fast, and allows nothing that it has."""
    features = code_for(PROCESSORS[name]) if name is not None else ()
    text = assembly(convolution(), TargetDescription.of("x86_64-unknown-linux-gnu", "graniterapids", features))
    assert max(re.findall("[xyz]mm", text)) == registers


def test_named_targets_are_sound() -> None:
    names = [name for each in NAMED_TARGETS for name in (each.name, *each.others) if name != PORTABLE]
    assert len(set(names)) == len(names)
    for each in NAMED_TARGETS:
        assert usable(each.architecture, each.features) == each.features


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("Haswell", "x86-64-v3"),
        ("Skylake-X", "x86-64-v4"),
        ("Ice Lake", "avx512-vnni"),
        ("Alder Lake", "avx-vnni"),
        ("Sapphire Rapids", "amx"),
        ("Zen 3", "x86-64-v3"),
        ("Zen 4", "avx512-bf16"),
        ("Zen 5", "avx512-bf16"),
        ("Graviton 2", "aarch64-dotprod"),
        ("Graviton 3", "aarch64-i8mm"),
    ],
)
def test_the_most_capable_named_target_of_a_processor(name: str, best: str) -> None:
    processor = PROCESSORS[name]
    here = features_of(processor.information, processor.architecture)
    fitting = [t.name for t in NAMED_TARGETS if t.architecture == processor.architecture and t.features <= here]
    assert fitting[-1] == best


@pytest.mark.parametrize(
    "target", [each for each in NAMED_TARGETS if each.name != PORTABLE], ids=lambda each: each.name
)
def test_code_for_a_named_target_is_generated_on_any_machine(
    target: NamedTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_is_asked_of_this_machine(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(machine_here, "features", nothing_is_asked_of_this_machine)
    monkeypatch.setattr("tilewright.codegen.cpu.llvm.target._cache", nothing_is_asked_of_this_machine)
    described = TargetDescription.named(target.name)
    assert all(TargetDescription.named(short) == described for short in target.others if short != PORTABLE)
    assert described.features == tuple(sorted(target.features))
    text = assembly(convolution(), described)
    if target.architecture == "x86_64":
        wide = "xmm" if described.vector_bits == 128 else "ymm" if described.vector_bits == 256 else "zmm"
        assert max(re.findall("[xyz]mm", text)) == wide
    else:
        fused = {"aarch64": "fmla\tv", "riscv64": "fmadd.s"}[target.architecture]
        assert all(fused in each for each in (text, assembly(FloatProduct(70, 50, 30), described)))


def test_restricted_to_256_bits() -> None:
    target = described("avx2")
    text = assembly(convolution(), target)
    assert (target.lanes, target.registers) == (8, 16)
    assert "ymm" in text
    assert "zmm" not in text
    assert "vfmadd" in text


def test_portable_code_needs_no_extension() -> None:
    target = described("portable")
    text = assembly(convolution(), target)
    assert target.features == ()
    assert "ymm" not in text
    assert "fmadd" not in text
    # A multiply-add without the instruction would be a call for every lane.
    assert "fmaf" not in text


def test_unknown_target() -> None:
    with pytest.raises(UsageError, match="no such target; expected host, portable, x86-64-v2, v2, x86-64-v3, v3, avx2"):
        TargetDescription.named("avx9000")


@pytest.mark.parametrize("level", sorted({each.name for each in NAMED_TARGETS}))
def test_half_precision_calls_no_function_of_a_compiler_library(level: str) -> None:
    target = TargetDescription.named(level)
    half, single = (Value("x", TensorType((40,), dtype)) for dtype in (DType.F16, DType.F32))
    within = FusedElementwise(("t0 = cast(a0) {to=f16}", "t1 = cast(t0) {to=f32}"))
    for op in (Op(Add(), (half, half)), Op(within, (single,))):
        kernel = lower(op, target)
        assert kernel is not None
        code = assemble([KernelCall(kernel, (Location("input", 0),) * (len(op.inputs) + 1))], target, 2, 0)
        assert re.findall(rb"__(?:extendhfsf2|truncsfhf2|gnu_\w+)", code) == []
