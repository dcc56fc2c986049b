"""Random networks, random small machines and random places, through the driver: all engines give the same bytes.

Floating-point networks are calibrated on random numbers; quantised ones come as ONNX files with the scales in them.
A failure names its seed: ``check(seed, folder)`` does the same again.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from before_after import random_inputs
from quantized_graphs import random_quantized_graph
from random_device_graphs import ON_THE_DEVICE, shift_weights
from random_graphs import CONVOLUTIONAL, EVERYTHING, random_graph
from random_machines import odd_machine, write_machine

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import CalibrationError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.placement.device_support import reject
from tilewright.runtime.machines import machine as machines
from tilewright.runtime.machines.machine import Machine
from tilewright.runtime.report.details import details_of
from tilewright.runtime.session import load

STYLES = ("float classifier", "float of everything", "float for the device", "quantised i8", "quantised u8")
MAKERS = {"float classifier": CONVOLUTIONAL, "float of everything": EVERYTHING, "float for the device": ON_THE_DEVICE}


def random_model(rng: np.random.Generator, style: str) -> bytes:
    """An ONNX file."""
    while True:
        if style.startswith("quantised"):
            module = random_quantized_graph(rng, groups=9, activations=style.split()[-1], makers=ON_THE_DEVICE)
            if rng.random() < 0.5:
                shift_weights(module, rng)
        else:
            module = random_graph(rng, groups=9, makers=MAKERS[style])
        try:
            return export_onnx(module).SerializeToString()
        except UnsupportedError as error:
            assert error.stage == "export", "what has no ONNX form cannot come in by it"


def random_places(module: Module, machine: Machine, rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
    """Places for the ops that the device can run, most of them on it however small they are."""
    lowered = clone_module(module)
    LegalizeForDevice().run(lowered)
    able = [op for op in lowered.main.ops if reject(op, machine) is None]
    names = dict.fromkeys(op.results[0].name for op in able)
    share = float(rng.choice([1.0, 0.8, 0.5]))
    return tuple((name, "device" if rng.random() < share else "cpu") for name in names)


def computes_integers_only(module: Module) -> bool:
    """Whether what happens between the borders is exact, so that kernels must agree with the reference in every bit."""
    borders = ("quantize", "dequantize")
    return all(
        op.name in borders
        or all(v.type.quant is not None or not v.type.dtype.is_float for v in (*op.inputs, *op.results))
        for op in module.ops
    )


def check(seed: int, folder: Path) -> None:
    """Compile a random network for a random machine with random places, and compare the engines."""
    rng = np.random.default_rng(90_000 + seed)
    style = STYLES[seed % len(STYLES)]
    machine = odd_machine(rng)
    path = write_machine(folder / "machine.json", machine)
    options = CompileOptions(precision="int8", machine=path, calibration="random", calibration_limit=2)
    while True:
        model = random_model(rng, style)
        try:
            reference = quantize_module(import_onnx(model), options)
            break
        except CalibrationError as error:
            assert error.message == "nothing in this network can be quantised"
    places = random_places(reference, machine, rng)
    options = CompileOptions(precision="int8", machine=path, calibration="random", calibration_limit=2, affinity=places)
    artifact = compile_to_memory(model, options)
    # Ops that share a name in the module that places are given for are numbered in reports.
    on_device = {re.sub(r"\.\d+$", "", r.name) for r in details_of(artifact).placement if r.on == "device"}
    assert on_device == {name for name, place in places if place == "device"}, "the places are those asked for"
    assert all(record.why for record in details_of(artifact).placement), "every op has a reason"
    inputs = random_inputs(reference, rng)
    found: dict[str, dict[str, np.ndarray]] = {}
    for engine in ("device", "software"):
        with load(artifact, engine=engine) as session:
            found[engine] = session.run(inputs)
    for name, array in found["software"].items():
        np.testing.assert_array_equal(found["device"][name], array, f"device and software, {name}, {style}")
    if computes_integers_only(reference):
        for name, array in interp.run(reference, inputs).items():
            np.testing.assert_array_equal(found["device"][name], array, f"device and reference, {name}, {style}")


def some_places(model: bytes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Outputs on the same inputs, with other places each time."""
    options = CompileOptions(precision="int8", machine="s256", calibration="random", calibration_limit=2)
    module = quantize_module(import_onnx(model), options)
    options = replace(options, affinity=random_places(module, machines.load("s256"), rng))
    with load(compile_to_memory(model, options), engine="device") as session:
        return session.run(random_inputs(module, np.random.default_rng(1)))


@pytest.mark.parametrize("style", ["quantised i8", "quantised u8"])
def test_places_change_no_byte(style: str) -> None:
    rng = np.random.default_rng(5)
    model = random_model(rng, style)
    first = some_places(model, rng)
    for _ in range(3):
        for name, array in some_places(model, rng).items():
            np.testing.assert_array_equal(array, first[name])


@pytest.mark.parametrize("seed", range(35))
def test_engines_agree(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 420))
def test_many_more(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)
