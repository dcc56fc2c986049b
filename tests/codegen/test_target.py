"""Descriptions of processors, and that code keeps to what they allow."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest
from kernel_harness import described

from tilewright.codegen.cpu.kernels.convolution import Convolution
from tilewright.codegen.cpu.kernels.window import Axis
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.errors import UsageError


def convolution() -> KernelSpec:
    axis = Axis(12, 12, 3, 1, 1, 1)
    return Convolution(1, 32, axis, axis, 32, has_bias=True)


def assembly(spec: KernelSpec, target: TargetDescription) -> str:
    code_generator = machine(target)
    module = llvm.parse_assembly(spec.generate(target).text)
    module.triple = target.triple
    module.data_layout = str(code_generator.target_data)
    return code_generator.emit_assembly(module)


def test_host_is_described() -> None:
    host = TargetDescription.host()
    assert host == TargetDescription.named("host")
    assert host.lanes * 32 == host.vector_bits
    assert not set(host.features) & set(host.disabled)


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
    arm = TargetDescription("aarch64-unknown-linux-gnu", "generic", ("neon",), (), 128, 32, True)
    assert "fmla" in assembly(convolution(), arm)


def test_unknown_target() -> None:
    with pytest.raises(UsageError, match="no such target on this machine; expected host, avx2"):
        TargetDescription.named("avx9000")
