"""Descriptions of processors, and that code keeps to what they allow."""

from __future__ import annotations

import re
from collections.abc import Mapping

import llvmlite.binding as llvm
import pytest
from kernel_harness import described
from processors import PROCESSORS, Recorded

from tilewright.codegen.cpu.kernels.convolution import Convolution
from tilewright.codegen.cpu.kernels.window import Axis
from tilewright.codegen.cpu.llvm.target import TargetDescription, allowed, machine
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.errors import UsageError
from tilewright.runtime.native.extensions import EXTENSIONS
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
    everything = code_for(processor)
    hidden = {"amx_tile", "avx512_vnni", "avx512_fp16"}
    masked = processor._replace(cores=(" ".join(f for f in processor.cores[0].split() if f not in hidden),))
    assert everything - code_for(masked, of_llvm=processor.of_llvm) == {"avx512vnni", "avx512fp16"}
    of_llvm = {**processor.of_llvm, "amx-tile": False, "avx512bw": False}
    assert everything - code_for(processor, of_llvm=of_llvm) == {
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
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    features = code_for(PROCESSORS[name]) if name is not None else ()
    text = assembly(convolution(), TargetDescription.of("x86_64-unknown-linux-gnu", "graniterapids", features))
    assert max(re.findall("[xyz]mm", text)) == registers


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


def test_code_for_another_architecture() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    arm = TargetDescription.of("aarch64-unknown-linux-gnu", "generic")
    assert "fmla" in assembly(convolution(), arm)


def test_unknown_target() -> None:
    with pytest.raises(UsageError, match="no such target on this machine; expected host, avx2"):
        TargetDescription.named("avx9000")
