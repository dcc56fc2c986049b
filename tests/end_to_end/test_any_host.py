"""An artifact for named processors is the same whichever processor compiles it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tilewright.runtime.native import host

PROGRAM = """
import hashlib, sys

import numpy as np
import onnx.helper
import onnx.numpy_helper

from tilewright.compiler.demo import MODEL
from tilewright.compiler.driver import build
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.native import host

if sys.argv[1] == "old":
    host.features = frozenset
    import llvmlite.binding as llvm
    llvm.get_host_cpu_name = lambda: "x86-64"
    llvm.get_host_cpu_features = dict
targets = sys.argv[2]

# What numba compiles.
nodes = [onnx.helper.make_node("CumSum", ["x", "axis"], ["y"]), onnx.helper.make_node("Erf", ["y"], ["z"])]
values = [onnx.helper.make_tensor_value_info(name, 1, [3, 40]) for name in "xz"]
axis = onnx.numpy_helper.from_array(np.int64(1), "axis")
graph = onnx.helper.make_graph(nodes, "sums", values[:1], values[1:], [axis])
sums = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
given = {"calibration": "random", "calibration_limit": 8, "effort": "quick"}
for model, options in ((sums.SerializeToString(), {"precision": "fp32"}), (str(MODEL), {"precision": "int8", **given})):
    package = build(model, CompileOptions(target=targets, **options))
    print(hashlib.sha256(package.to_bytes()).hexdigest())
"""

OLD = {
    "NUMBA_CPU_NAME": "x86-64",
    "NUMBA_CPU_FEATURES": "",
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3",
}
"""What has numba and numpy do as on a processor that has no more than all of x86-64."""


@pytest.mark.skipif(host.architecture() != "x86_64", reason="an old processor of x86-64")
@pytest.mark.parametrize(
    "targets", ["x86-64-v3,aarch64-i8mm", pytest.param("riscv64,aarch64", marks=pytest.mark.sweep)]
)
def test_an_old_and_a_new_processor_make_the_same_artifact(targets: str) -> None:
    here = {name: value for name, value in os.environ.items() if name != "TESTS_SHARED_KERNELS"}
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, age, targets], env={**here, **given}, stdout=subprocess.PIPE, text=True
        )
        for age, given in (("new", {}), ("old", OLD))
    ]
    new, old = (program.communicate(timeout=300)[0].split() for program in programs)
    assert len(new) == 2
    assert new == old
