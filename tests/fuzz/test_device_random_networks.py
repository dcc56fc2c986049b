"""Random networks on random machines, clusters, cards and batch modes: device = software = reference, by the driver.

Floating-point networks are calibrated on random numbers; quantised ones come as ONNX files with the scales in them.
Machines are odd, have one to four clusters and one or two cards, and ops run where chance puts them. A failure names
its seed: ``check(seed, folder, settings)`` does the same again.

``pytest -m sweep tests/fuzz/test_device_random_networks.py`` compares 493 networks more, which makes 500: more than
an hour on one core.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from before_after import random_inputs
from cascade_graphs import random_chain
from chip_graphs import random_chip_graph
from network_blocks import OF_BLOCKS
from quantized_graphs import random_quantized_graph
from random_device_graphs import OF_ATTENTION, OF_MOVEMENT, OF_ROWS, ON_THE_DEVICE, shift_weights
from random_device_settings import CARDS, CLUSTERS, Setting, random_settings
from random_graphs import CONVOLUTIONAL, EVERYTHING, random_graph
from random_machines import write_machine

from tilewright.codegen.package import Package, add_engine
from tilewright.compiler import driver
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.pipeline import attention_pipeline, outline_pipeline
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import CalibrationError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module
from tilewright.passes.device.share_batch import batch_of
from tilewright.passes.placement.device_support import reject
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.artifact.manifest import ENGINES
from tilewright.runtime.execution.device import read_programs
from tilewright.runtime.machines import machine as machines
from tilewright.runtime.machines.machine import Machine
from tilewright.runtime.report.details import details_of
from tilewright.runtime.report.simulation import simulate_artifact
from tilewright.runtime.session import load

STYLES = (
    *("quantised i8", "quantised u8", "maps on chip", "quantised i8", "maps on chip"),
    *("float for the device", "float classifier", "quantised u8", "high maps", "float of everything"),
)
MAKERS = {
    "float classifier": CONVOLUTIONAL,
    "float of everything": EVERYTHING,
    "float for the device": ON_THE_DEVICE,
    "float rows": OF_ROWS,
    "float attention": OF_ATTENTION,
    "float movement": OF_MOVEMENT,
    "float blocks": OF_BLOCKS,
    "8 and 16 bits of blocks": OF_BLOCKS,
    "16 bits": ON_THE_DEVICE,
    "8 and 16 bits": ON_THE_DEVICE,
}
OPTIONS = CompileOptions(precision="int8", calibration="random", calibration_limit=2, engines=ENGINES)


def random_model(rng: np.random.Generator, style: str, images: int | None = None) -> bytes:
    """An ONNX file."""
    while True:
        if style == "high maps":
            module = random_chain(rng, 7, int(rng.integers(16, 48)), int(rng.integers(4, 9)), is_real=True)
        elif style == "maps on chip":
            module = random_chip_graph(rng, images=images, is_real=True)
        elif style.startswith("quantised"):
            module = random_quantized_graph(
                rng, groups=8, activations=style.split()[-1], makers=ON_THE_DEVICE, images=images
            )
            if rng.random() < 0.5:
                shift_weights(module, rng)
        else:
            # Of attention a map is rows of channels; a block is several groups of the others.
            spatial = 1 if style == "float attention" else 2 if style.endswith("blocks") else None
            groups = 3 if style.endswith("blocks") else 8
            module = random_graph(rng, groups=groups, makers=MAKERS[style], images=images, spatial=spatial)
        try:
            return export_onnx(module).SerializeToString()
        except UnsupportedError as error:
            assert error.stage == "export", "what has no ONNX form cannot come in by it"


def legalized(module: Module) -> Module:
    """A copy whose ops have the forms that get places, as the driver makes them."""
    lowered = clone_module(module)
    passes = takewhile(lambda each: not isinstance(each, Partition), outline_pipeline("m4096").passes)
    for each in (*attention_pipeline().passes, *passes):
        each.run(lowered)
    return lowered


def random_places(module: Module, machine: Machine, rng: np.random.Generator) -> tuple[tuple[str, str], ...]:
    """Places for the ops that the device can run, most of them on it however small they are."""
    able = [op for op in legalized(module).main.ops if reject(op, machine) is None]
    share = float(rng.choice([1.0, 0.8, 0.5]))
    places: dict[str, str] = {}
    for op in able:
        drawn = "device" if rng.random() < share else "cpu"
        # What was made of several nodes, which each have a name, is in one place.
        places.setdefault(op.results[0].name, next((places[node] for node in op.loc if node in places), drawn))
    return tuple(places.items())


def computes_integers_only(module: Module) -> bool:
    """Whether what happens between the borders is exact, so that kernels must agree with the reference in every bit."""
    borders = ("quantize", "dequantize")
    return all(
        op.name in borders
        or all(v.type.quant is not None or not v.type.dtype.is_float for v in (*op.inputs, *op.results))
        for op in module.ops
    )


@contextmanager
def engines(names: Collection[str], quantized: Module) -> Iterator[None]:
    """The driver makes kernels for these engines alone, which take most of its time, and quantises nothing again."""

    def add(package: Package, name: str, *arguments: Any, **options: Any) -> object:
        return add_engine(package, name, *arguments, **options) if name in names else None

    with (
        mock.patch.object(driver, "add_engine", add),
        mock.patch.object(driver, "quantize_module", lambda *_: clone_module(quantized)),
    ):
        yield


def wide_names(model: bytes, style: str, rng: np.random.Generator) -> tuple[str, ...]:
    """What is to be of 16 bits: all, or what some of the convolutions make."""
    if not style.startswith("8 and 16 bits"):
        return ("all",) if style == "16 bits" else ()
    names = [op.result.name for op in import_onnx(model).ops if op.name == "conv"]
    return tuple(name for name in names if rng.random() < 0.5) or tuple(names[:1]) or ("all",)


def quantized_model(rng: np.random.Generator, style: str, images: int | None) -> tuple[bytes, Module]:
    """A random network as an ONNX file, and what it is in integers."""
    while True:
        model = random_model(rng, style, images)
        options = replace(OPTIONS, wide=wide_names(model, style, rng), methods=str(rng.choice(["none", "additions"])))
        try:
            quantized = quantize_module(import_onnx(model), options if options.wide else OPTIONS)
            return model, quantized
        except CalibrationError as error:
            assert error.message == "nothing in this network can be quantised"


def in_turn(setting: Setting, rng: np.random.Generator) -> Setting:
    """With so little bandwidth and room that one cluster had better compute ops in turn; mostly with one."""
    machine = setting.machine
    units = {"clusters": 1, "cards": 1} if rng.random() < 0.7 else {}
    room = min(machine.maps_bytes, 1 << 14)
    slow = replace(machine, dram_bytes_per_second=machine.clock_hertz // 2, maps_bytes=room)
    return replace(setting, machine=slow, effort="normal", **units)


def check(seed: int, folder: Path, settings: int, style: str = "") -> Counter[str]:
    """Compile a random network for random machines, clusters, cards and batch modes with random places, and compare.

    Args:
        style: of the network; by default that of the seed.

    Returns:
        How often what several clusters and cards can do was done.
    """
    rng = np.random.default_rng(90_000 + seed)
    style = style or STYLES[seed % len(STYLES)]
    model, quantized = quantized_model(rng, style, int(rng.choice([1, 1, 1, 2, 3, 4, 6])))
    inputs = random_inputs(quantized, rng)
    expected = interp.run(quantized, inputs) if computes_integers_only(quantized) else {}
    software: dict[str, np.ndarray] = {}
    named = {value.name for op in import_onnx(model).ops for value in op.results}
    # Choices and slices of channels may go into the weights around them, transpositions into how a map is read.
    gone = {op.result.name for op in legalized(quantized).main.ops if op.name in ("gather", "slice", "transpose")}
    found: Counter[str] = Counter()
    for setting in random_settings(rng, batch_of(quantized), settings):
        if style == "high maps":
            setting = in_turn(setting, rng)
        what = f"seed {seed}, {style}, {setting}"
        places = tuple(each for each in random_places(quantized, setting.machine, rng) if each[0] in named)
        options = setting.options(OPTIONS, write_machine(folder / "machine.json", setting.machine))
        with engines(("device",) if software else ("device", "software"), quantized):
            artifact = compile_to_memory(model, replace(options, affinity=places))
        # Ops that share a name in the module that places are given for are numbered in reports.
        on_device = {re.sub(r"\.\d+$", "", r.name) for r in details_of(artifact).placement if r.on == "device"}
        wanted = {name for name, place in places if place == "device"}
        assert on_device & named | gone == wanted | gone, "the places are those asked for"
        assert all(record.why for record in details_of(artifact).placement), "every op has a reason"
        if not software:
            with load(artifact, engine="software") as session:
                software = session.run(inputs)
            for name, array in expected.items():
                np.testing.assert_array_equal(software[name], array, f"software and reference, {name}, {what}")
        with load(artifact, engine="device") as session:
            for name, array in session.run(inputs).items():
                np.testing.assert_array_equal(array, software[name], f"device and software, {name}, {what}")
        found.update(done_by(artifact))
    return found


def done_by(artifact: Artifact) -> Iterator[str]:
    """What the programs of an artifact do with clusters and cards."""
    manifest = artifact.manifest
    placed = (each.op for each in details_of(artifact).placement if each.on == "device")
    yield from (name for name in placed if name in ("attention", "skip_layer_norm"))
    yield from ("kept map" for each in details_of(artifact).maps if each.memory == "chip")
    for name, info in manifest.device_programs.items():
        programs = read_programs(artifact, name)
        if max(program.clusters for program in programs) > 1:
            yield "several clusters"
        if info.cards > 1:
            yield "images over cards"
        if len(programs) > 1:
            yield "layers over cards"
        if manifest.engines["device"].runs_of(name) > info.cards:
            yield "several calls"
        items = (item for program in programs for stream in program.queues for item in program.instructions(stream))
        yield from {type(item).__name__ for item in items}
        yield from ("cascade" for each in details_of(artifact).schedules if each.name == name and each.cascades)
    if artifact.manifest.device_programs:
        total = simulate_artifact(artifact).total
        assert total.cycles > 0 and 0 < total.clusters <= CLUSTERS and 0 < total.cards <= CARDS


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
    for _ in range(2):
        for name, array in some_places(model, rng).items():
            np.testing.assert_array_equal(array, first[name])


EVERY_TIME = (0, 1, 2, 5, 6, 8, 9)
"""Seeds: a network of each style, and everything that clusters and cards can do is among it."""

EXPECTED = ("kept map", "several clusters", "images over cards", "layers over cards", "Send")


def test_engines_agree(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for seed in EVERY_TIME:
        found += check(seed, tmp_path, settings=1)
    assert all(found[each] for each in EXPECTED), found


@pytest.mark.parametrize("style", ["float rows", "float movement"])
def test_engines_agree_on_rows_and_movement(style: str, tmp_path: Path) -> None:
    check(0, tmp_path, settings=1, style=style)


@pytest.mark.parametrize("style", ["16 bits", "8 and 16 bits"])
def test_engines_agree_on_16_bits(style: str, tmp_path: Path) -> None:
    found = check(1, tmp_path, settings=1, style=style)
    assert found["RequantizeWide"], found


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("style", [each for each in MAKERS if each not in STYLES])
def test_many_more_of_a_style(style: str, seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, settings=2, style=style)


def test_engines_agree_on_attention(tmp_path: Path) -> None:
    found = check(2, tmp_path, settings=1, style="float attention")
    assert found["attention"] and found["skip_layer_norm"], found
    # Products that attention alone reads are made wider for it, and keep the names that places are given by.
    check(17, tmp_path, settings=1, style="float attention")


@pytest.mark.sweep
@pytest.mark.parametrize("seed", [seed for seed in range(500) if seed not in EVERY_TIME])
def test_many_more(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, settings=3)
