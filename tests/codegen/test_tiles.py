"""Kernels on the tiles of AMX, emulated, against the reference: byte for byte."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import onnx
import pytest
from emulated_tiles import emulate_networks, emulated, emulated_target
from kernel_harness import in_two_calls
from onnx import helper
from operator_samples import Case
from quantized_cases import blocked, check_kernels, product

import tilewright
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.kernels.convolutions import tiled_convolution
from tilewright.codegen.cpu.kernels.products import tiled_product
from tilewright.codegen.cpu.llvm import tiles
from tilewright.codegen.cpu.llvm.builder import FunctionBuilder
from tilewright.codegen.cpu.llvm.module import parse
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine
from tilewright.errors import CodegenError
from tilewright.ir.core import Op
from tilewright.runtime.native import host

KINDS = ("blocked", "grouped", "joined", "pointwise")


@pytest.fixture(autouse=True)
def _pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small shapes run on tiles as well."""
    for module in (tiled_convolution, tiled_product):
        monkeypatch.setattr(module, "pays", lambda *_: True)


@pytest.fixture
def emulation(monkeypatch: pytest.MonkeyPatch) -> list[Kernel]:
    """The kernels with tiles of the networks that a test compiles, for which it then has tiles."""
    return emulate_networks(monkeypatch)


def check(cases: list[Case]) -> int:
    """Every case gives the bytes of the reference; how many ran on tiles."""
    tiled = 0

    def in_parts(op: Op, kernel: Kernel) -> Kernel:
        nonlocal tiled
        tiled += "tdpb" in kernel.text
        return in_two_calls(emulated(kernel), len(op.inputs) + len(op.results) + bool(kernel.data))

    check_kernels(cases, emulated_target(), in_parts)
    return tiled


@pytest.mark.parametrize("kind", KINDS)
def test_random_convolutions(kind: str, rng: np.random.Generator) -> None:
    assert check([blocked(kind, rng) for _ in range(6)])


def test_random_products(rng: np.random.Generator) -> None:
    assert check([product(rng) for _ in range(6)])


@pytest.mark.sweep
@pytest.mark.parametrize("kind", [*KINDS, "product"])
def test_many_random_shapes(kind: str, rng: np.random.Generator) -> None:
    for _ in range(30):
        check([product(rng) if kind == "product" else blocked(kind, rng) for _ in range(10)])


@cache
def network() -> bytes:
    """Two convolutions, each long enough to be shared out, and a matrix product."""
    rng = np.random.default_rng(0)
    shapes = {"first": (64, 32, 3, 3), "second": (72, 64, 1, 1), "matrix": (72, 40)}
    weights = [(rng.standard_normal(shape) * 0.1).astype(np.float32) for shape in shapes.values()]
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["d", "matrix"], ["y"]),
    ]
    ends = {"x": (1, 32, 24, 24), "y": (1, 24, 24, 40)}
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in ends.items())
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in zip(shapes, weights, strict=True)]
    return helper.make_model(helper.make_graph(nodes, "network", [x], [y], constants)).SerializeToString()


def compiled(target: str | TargetDescription) -> tilewright.Artifact:
    given = {"calibration": "random", "calibration_limit": 2, "engines": "software"}
    return tilewright.compile(network(), precision="int8", target=target, **given)


def test_a_network_on_several_threads(emulation: list[Kernel], rng: np.random.Generator) -> None:
    images, found = rng.standard_normal((4, 1, 32, 24, 24)).astype(np.float32), []
    for target, threads in (("portable", 1), (emulated_target(), 2)):
        with tilewright.load(compiled(target), threads=threads) as session:
            found.append([session.run({"x": image}) for image in images])
    assert len(emulation) == 3
    np.testing.assert_equal(found[1], found[0])


def test_an_artifact_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = compiled("amx").manifest.cpu_programs.values()
    assert {"amx-int8", "amx-tile"} <= set(code.target.features)
    assert "amx-bf16" not in code.target.features
    others = (host.features() | set(code.target.features)) - {"amx-int8", "amx-tile"}
    monkeypatch.setattr(host, "features", lambda: others)
    assert host.missing(code.target.triple, code.target.features) == "this processor lacks amx-int8, amx-tile"


@pytest.mark.parametrize("kind", ["pointwise", "product"])
def test_the_instructions(kind: str, rng: np.random.Generator) -> None:
    """For the processors that have them: nothing runs."""
    target = TargetDescription.named("amx")
    texts = set[str]()
    for _ in range(12):
        (op,) = (product(rng) if kind == "product" else blocked(kind, rng)).module.main.ops
        kernel = lower(op, target)
        assert kernel is not None
        if "tdpb" in kernel.text:
            texts.add(machine(target).emit_assembly(parse(kernel.text, kernel.name, target)))
    assert texts
    for text in texts:
        order = re.findall(r"^\t(ldtilecfg|tilerelease|tdpb\w+|tileloadd|tilestored)", text, re.MULTILINE)
        assert {"tileloadd", "tilestored"} <= set(order)
        assert {each for each in order if each.startswith("tdp")} <= {f"tdpb{x}{w}d" for x in "su" for w in "su"}
        assert (order.count("ldtilecfg"), order.count("tilerelease")) == (1, 1)


def test_wrong_tiles_are_refused_before_llvm_sees_them() -> None:
    b = FunctionBuilder(TargetDescription.named("amx"), "f", [])
    with pytest.raises(CodegenError, match="there is no such tile; expected 0 to 7, found 8"):
        tiles.multiply(b, "tdpbusd", 0, 4, 8)
    with pytest.raises(CodegenError, match="no tile is so large; expected 16 rows of 64 bytes"):
        tiles.configure(b, 17, 64)
    b = FunctionBuilder(TargetDescription.named("avx512-vnni"), "f", [])
    with pytest.raises(CodegenError, match="the target lacks an extension; expected amx-int8, found avx512-vnni"):
        tiles.multiply(b, "tdpbusd", 0, 4, 6)
