"""What is compiled here for AArch64 and RISC-V, under emulation: kernels of every family, networks by the runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import emulated
import numpy as np
import pytest
from generic_kernels import assert_close, the_op
from kernel_harness import EMULATED, Execution, described, run_kernels
from operator_samples import Case, cases_of

import tilewright
from tilewright.codegen.cpu.families import lowerings
from tilewright.codegen.cpu.kernel import Lowering
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.compiler.demo import MODEL
from tilewright.compiler.driver import build
from tilewright.compiler.options import CompileOptions
from tilewright.ir import interp
from tilewright.ir.op import REGISTRY
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.native import host

ARM = tuple(level for level in EMULATED if level.startswith("aarch64"))

pytestmark = pytest.mark.skipif(host.architecture() == "aarch64", reason="needs no emulation")


def executions(lowering: Lowering, name: str, target: TargetDescription) -> Iterator[tuple[Case, Execution]]:
    """The samples of an operator that a family has a kernel for."""
    for case in cases_of(name):
        kernel = lowering(the_op(case), target)
        if kernel is not None:
            arrays = tuple(array for array in case.sample.inputs if array is not None)
            yield case, Execution(the_op(case), kernel, arrays)


def is_loops(lowering: Lowering) -> bool:
    """Whether numba compiles it, the same for all levels of an architecture."""
    return ".numba." in lowering.__module__


def a_few(level: str, target: TargetDescription) -> Iterator[tuple[Case, Execution]]:
    """The first sample of the first operator of each family, and of a third of the others that are written for vectors.

    Another third on each level of AArch64. Loops are the same for all levels of an architecture: every other family of
    them is on the first level of AArch64, the others on RISC-V.
    """
    met, loops = Counter[Lowering](), dict[Lowering, int]()
    for name in REGISTRY:
        for lowering in lowerings(REGISTRY[name]):
            if is_loops(lowering) and (
                met[lowering] or level in ARM[1:] or loops.setdefault(lowering, len(loops)) % 2 == (level == ARM[0])
            ):
                continue
            if met[lowering] and met[lowering] % len(ARM) != EMULATED.index(level) % len(ARM):
                met[lowering] += 1
                continue
            for found in executions(lowering, name, target):
                met[lowering] += 1
                yield found
                break


def check(level: str, cases: list[tuple[Case, Execution]]) -> None:
    for (case, each), results in zip(cases, run_kernels([e for _, e in cases], described(level)), strict=True):
        assert results is not None, f"{case.name}: refused by {each.kernel.name}"
        for result, expected in zip(results, interp.run(case.module, case.inputs).values(), strict=True):
            assert_close(result, expected, case.name)


@pytest.mark.parametrize("level", EMULATED)
def test_every_family_of_kernels_gives_what_the_reference_gives(level: str) -> None:
    check(level, list(a_few(level, described(level))))


@pytest.mark.sweep
@pytest.mark.parametrize("level", EMULATED)
def test_every_sample_of_every_family(level: str) -> None:
    target = described(level)
    check(
        level,
        [found for name in REGISTRY for each in lowerings(REGISTRY[name]) for found in executions(each, name, target)],
    )


def compiled(**options: Any) -> bytes:
    return build(str(MODEL), CompileOptions(**options)).to_bytes()


@pytest.fixture(scope="module", params=["int8", pytest.param("fp32", marks=pytest.mark.sweep)])
def digits(request: pytest.FixtureRequest) -> bytes:
    emulated.python()
    given = {"calibration": "random", "calibration_limit": 2, "effort": "quick", "engines": "software"}
    options = given if request.param == "int8" else {}
    return compiled(precision=request.param, target=f"portable,{','.join(ARM)}", **options)


@pytest.mark.parametrize(
    "level", [pytest.param(ARM[0], marks=pytest.mark.sweep), pytest.param(ARM[1], marks=pytest.mark.sweep), ARM[2]]
)
def test_networks_give_what_they_give_here(digits: bytes, level: str) -> None:
    """On two threads, whose pool is native code."""
    assert set(TargetDescription.named(level).features) <= emulated.ask(level, "features")
    artifact = Artifact.open(digits)
    (engine,) = artifact.manifest.engines
    with tilewright.load(artifact, engine=engine, trust=artifact.digest) as session:
        inputs = {spec.name: np.random.default_rng(1).random(spec.shape, np.float32) for spec in session.inputs}
        expected = session.run(inputs)
    for name, found in emulated.ask(level, "network", digits, inputs, engine, 2).items():
        tolerance = 0 if engine == "software" else 1e-4 * float(np.abs(expected[name]).max())
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=tolerance)


def test_a_processor_that_lacks_an_extension_is_refused() -> None:
    emulated.python()
    artifact = compiled(precision="fp32", target="aarch64-i8mm")
    with pytest.raises(AssertionError, match="does not run here: this processor lacks dotprod, i8mm; and regenerate"):
        emulated.ask("aarch64", "network", artifact, {}, "float", 1)
