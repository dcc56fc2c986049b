"""Whatever is wrong with machine, calibration, places or device program: one message that says where and what helps."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import instruction_set as isa
import numpy as np
import pytest
from network_files import graph_model, write_model
from onnx import TensorProto, helper

from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.compiler.driver import compile_to_file
from tilewright.compiler.options import CompileOptions
from tilewright.errors import InstructionError
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.artifact.container import Section
from tilewright.runtime.isa.encoding import Stream, Wait, streams
from tilewright.runtime.machines.machine import load
from tilewright.runtime.report.details import details_of
from tilewright.runtime.session import load as load_session

Fails = Callable[..., str]

COMPILE = ["compile", "m.onnx", "-o", "m.twa", "--precision", "int8"]
RANDOM = [*COMPILE, "--calibration", "random"]


@pytest.fixture(autouse=True)
def model(tmp_path: Path) -> None:
    """``m.onnx``: one convolution of 16 channels, from ``x`` to ``y``."""
    write_model(tmp_path / "m.onnx", convolution_model())


def convolution_model(side: int = 4) -> Any:
    weights = np.random.default_rng(1).standard_normal((16, 16, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return graph_model([node], [("x", TensorProto.FLOAT, [1, 16, side, side])], initializers={"w": weights})


# Machine files

BASE = {"format": 1, **load("s256").to_dictionary()}


def without(*names: str) -> dict[str, object]:
    return {key: value for key, value in BASE.items() if key not in names}


MACHINES: dict[str, tuple[object, str]] = {
    "missing": (without("maps_bytes"), "m.json: field 'maps_bytes' is missing"),
    "several missing": (
        without("maps_bytes", "clock_hertz"),
        "m.json: field 'clock_hertz' is missing. Also missing: maps_bytes.",
    ),
    "unknown": ({**BASE, "speed": 3}, "m.json: field 'speed' is unknown"),
    "negative": (
        {**BASE, "clusters": -1},
        "m.json: field 'clusters' (clusters on a card, each with its own scratchpads) is out of range; "
        "expected 1 to 16, found -1",
    ),
    "nothing": (
        {**BASE, "maps_bytes": 0},
        "m.json: field 'maps_bytes' (feature-map scratchpad of a cluster) is out of range; "
        "expected 1024 to 16777216 B, found 0",
    ),
    "negative constant": (
        {**BASE, "timing": {**load("s256").to_dictionary()["timing"], "mac_setup": -3}},  # pyright: ignore[reportGeneralTypeIssues]
        "m.json: field 'timing.mac_setup' (decode and address setup of a MAC instruction) is out of range; "
        "expected 0 to 65536 cycles, found -3",
    ),
    "text": (
        {**BASE, "clock_hertz": "fast"},
        "m.json: field 'clock_hertz' (clock) is not a whole number; found 'fast'",
    ),
    "not a number": (
        {**BASE, "dram_efficiency": float("nan")},
        "m.json: field 'dram_efficiency' (share of the peak that is reached) is out of range; "
        "expected 0.01 to 1.0, found nan",
    ),
    "lanes": ({**BASE, "input_lanes": 12}, "m.json: field 'input_lanes' is not a power of two; found 12"),
    "inconsistent banks": (
        {**BASE, "maps_bytes": 65600, "maps_banks": 8},
        "m.json: field 'maps_bytes' does not divide into 'maps_banks' banks of lines; "
        "expected a multiple of 512, found 65600",
    ),
    "inconsistent memories": (
        {**BASE, "dram_bytes": 65536},
        "m.json: field 'dram_bytes' is smaller than the scratchpads of the card together; "
        "expected at least 720896, found 65536",
    ),
    "array that the maps cannot feed": (
        {**BASE, "pixel_lanes": 64},
        "m.json: the maps port cannot feed the array; expected at least 1024 bytes a cycle (pixel_lanes x "
        "input_lanes), found 512 (maps_banks x 64). Give it more 'maps_banks', or the array fewer lanes.",
    ),
    "array that the weights cannot feed": (
        {**BASE, "output_lanes": 32},
        "m.json: the weight port cannot feed the array; expected at least 512 bytes a cycle (input_lanes x "
        "output_lanes), found 256 (weight_banks x 64). Give it more 'weight_banks', or the array fewer lanes.",
    ),
    "version": ({**BASE, "format": 2}, "m.json: field 'format' is not a known version; expected 1, found 2"),
    "list": ([1], "m.json: the top level is not an object; found [1]"),
    "half": (
        '{"format": ',
        "m.json: not JSON: Expecting value: line 1 column 12 (char 11)",
    ),
    "twice": ('{"format": 1, "format": 1}', "m.json: field 'format' is given twice"),
    "deep": ("[" * 100_000, "m.json: not JSON: nested too deeply"),
}


@pytest.mark.parametrize("name", MACHINES)
def test_machine_files(name: str, tmp_path: Path, fails: Fails) -> None:
    content, message = MACHINES[name]
    (tmp_path / "m.json").write_text(content if isinstance(content, str) else json.dumps(content))
    assert fails([*RANDOM, "--machine", "m.json"]) == message


def test_more_cards_or_images_than_there_are(fails: Fails) -> None:
    assert fails([*RANDOM, "--cards", "2"]) == "--cards: out of range for machine M4096; expected 1, found 2"
    assert fails([*RANDOM, "--clusters", "5"]) == (
        "--clusters: out of range for machine M4096; expected 1 to 4, found 5"
    )
    assert fails([*RANDOM, "--images-per-cluster", "1"], code=2) == (
        "--images-per-cluster: the network takes one image. Give more with --input-shape where the model leaves their "
        "number open, or leave the option out."
    )


def test_a_machine_that_is_not_there(tmp_path: Path, fails: Fails) -> None:
    samples = "Samples: m4096, s256, u250."
    for words in (RANDOM, ["compile", "m.onnx"]):
        assert fails([*words, "--machine", "m9000"]) == (
            f"machine 'm9000' is neither a sample nor a readable file (No such file or directory). {samples}"
        )
    (tmp_path / "folder").mkdir()
    assert fails([*RANDOM, "--machine", "folder"]) == (
        f"machine 'folder' is neither a sample nor a readable file (Is a directory). {samples}"
    )


# Artifacts for another machine


@cache
def artifact() -> Path:
    """``m.onnx`` for S256 with its convolution on the device; not to be changed."""
    path = Path(tempfile.mkdtemp(prefix="tilewright-test-")) / "m.twa"
    options = CompileOptions(
        precision="int8",
        engines="device,software,float",
        machine="s256",
        calibration="random",
        affinity=(("conv", "device"),),
    )
    compile_to_file(convolution_model().SerializeToString(), path, options)
    return path


def test_a_program_for_another_machine(tmp_path: Path, fails: Fails) -> None:
    values = {**BASE, "name": "mine", "output_lanes": 8, "clock_hertz": 100_000_000}
    (tmp_path / "mine.json").write_text(json.dumps(values))
    assert fails(["run", artifact(), "--random", "1", "--machine", "mine.json"]) == (
        "load artifact: device program 'device_0': the program was compiled for machine 'S256', this is 'mine'; "
        "expected equal descriptions, found (program, machine) output_lanes: 4, 8; clock_hertz: 250000000, 100000000. "
        "Compile the network for this machine."
    )


def test_the_machine_that_it_was_made_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(artifact()), "--random", "1", "--machine", "s256"]) == 0
    same = dataclasses.replace(load("s256"), name="another name")
    with load_session(artifact(), machine=same) as session, load_session(artifact()) as other:
        assert session.engine == "device"
        # The same integers, without a simulator.
        assert other.engine == "software"


def test_engines_that_need_no_machine(fails: Fails) -> None:
    assert fails(["run", artifact(), "--random", "1", "--machine", "s256", "--engine", "float"], code=2) == (
        "engine 'float' runs on no machine; expected engine device. Leave the machine out."
    )


# Instructions that are not sound

LD, LW, ST, MAC, VEC = streams(1)

Change = Callable[[dict[Stream, list[isa.Instruction]]], None]


def put(stream: Stream, index: int, **fields: object) -> Change:
    """Some fields of one instruction are others."""

    def change(queues: dict[Stream, list[isa.Instruction]]) -> None:
        queues[stream][index] = dataclasses.replace(queues[stream][index], **fields)  # pyright: ignore[reportArgumentType]

    return change


def rebuilt(program: isa.Program) -> bytes:
    """The artifact with another program in it, and every checksum right."""
    return holding(program.to_bytes())


def holding(content: bytes, section: str = "instructions.device_0") -> bytes:
    """The artifact with these bytes for its program, or for another section."""
    original = Artifact.open(artifact())
    sections = [
        Section(name, entry.kind, content if name == section else original.copy(name))
        for name, entry in original.sections.items()
        if name != "manifest"
    ]
    return artifact_bytes(original.manifest, sections)


def program() -> isa.Program:
    return isa.Program.from_bytes(Artifact.open(artifact()).copy("instructions.device_0"))


def changed(*changes: Change) -> isa.Program:
    original = program()
    queues = {stream: original.instructions(stream) for stream in original.queues}
    for change in changes:
        change(queues)
    encoded = {stream: b"".join(map(isa.encode, items)) for stream, items in queues.items()}
    return dataclasses.replace(original, queues=encoded)


def with_bits(stream: Stream, index: int, bit: int) -> isa.Program:
    """One bit of one instruction is inverted."""
    original = program()
    data = bytearray(original.queues[stream])
    data[64 * index + bit // 8] ^= 1 << bit % 8
    return dataclasses.replace(original, queues={**original.queues, stream: bytes(data)})


def bit_of(instruction: type[isa.Instruction], name: str) -> int:
    """The lowest bit of a field."""
    return next(field.shift for field in isa.encoded_fields(instruction) if field.name == name)


WHERE = "load artifact: device program 'device_0': "

PROGRAMS: dict[str, tuple[Callable[[], isa.Program], str]] = {
    "reserved bit": (
        lambda: with_bits(LW, 0, 511),
        "stream LW0, instruction 0: LDW: reserved bit 511 is set; expected 0, found 1",
    ),
    "unknown opcode": (
        lambda: with_bits(VEC, 0, 5),
        "stream VEC0, instruction 0: field 'opcode' is unknown; expected 1 LDM, 2 LDW, 3 LDP, 4 ST, 5 MOV, 6 SND, "
        "7 RCV, 8 CONV, 9 DWC, 10 MVW, 16 RQ, 17 POOL, 18 ELT, 19 LUT, 20 RSZ, 22 RSL, 23 RQA, "
        "24 SFM, 25 RQM, 26 RQW, 27 NRM, 32 BAR, 33 END, found 48",
    ),
    "map outside DRAM": (
        lambda: changed(put(LD, 0, offset=128)),
        "stream LD0, instruction 0 (LDM): field 'offset' breaks a rule; "
        "expected read bytes lie inside the 256 of region 'input', found bytes 128 to 368",
    ),
    "weights outside DRAM": (
        lambda: changed(put(LW, 0, offset=3)),
        "stream LW0, instruction 0 (LDW): field 'offset' breaks a rule; "
        "expected read bytes lie inside the 2432 of region 'constants', found bytes 192 to 2496",
    ),
    "outside the scratchpad": (
        lambda: changed(put(VEC, 0, destination=32764)),
        "stream VEC0, instruction 0 (RQ): field 'destination' breaks a rule; "
        "expected written bytes lie inside the 524288 of the maps scratchpad, found bytes 524224 to 524352",
    ),
    "accumulators outside": (
        lambda: changed(put(MAC, 0, accumulator=1020)),
        "stream MAC0, instruction 0 (CONV): field 'accumulator' breaks a rule; "
        "expected written bytes lie inside the 65536 of the accumulators scratchpad, found bytes 65280 to 65792",
    ),
    "a region that is not there": (
        lambda: changed(put(LD, 0, region=9)),
        "stream LD0, instruction 0 (LDM): field 'region' breaks a rule; expected there are 4 regions, found 9",
    ),
    "weights written over": (
        lambda: changed(put(ST, 0, region=0)),
        "stream ST0, instruction 0 (ST): field 'region' breaks a rule; "
        "expected region 'constants' (constant) is never written, found 0",
    ),
    "a wait that never ends": (
        lambda: changed(put(MAC, 0, waits=(Wait(LD.counter, 9),))),
        "stream MAC0, instruction 0 (CONV): field 'waits' breaks a rule; "
        "expected stream LD0 raises the counter 3 times, found (1, 9)",
    ),
    "a wait for nobody": (
        lambda: changed(put(MAC, 0, waits=(Wait(60, 1),))),
        "stream MAC0, instruction 0 (CONV): field 'waits' breaks a rule; "
        "expected a counter of the program's streams, 1 to 5, found (60, 1)",
    ),
    "a cycle of waits": (
        lambda: changed(put(LD, 0, waits=(Wait(ST.counter, 1),))),
        "the waits of the program cannot all be satisfied; expected no cycle of waits, "
        "found LD0 0 (LDM) waits for ST0 0 (ST); ST0 0 (ST) waits for VEC0 0 (RQ); "
        "VEC0 0 (RQ) waits for MAC0 0 (CONV); MAC0 0 (CONV) waits for LD0 0 (LDM)",
    ),
    "a race": (
        lambda: changed(put(VEC, 0, waits=())),
        "stream VEC0, instruction 0 (RQ): field 'waits' breaks a rule; "
        "expected conflicts are ordered, found no wait that orders it after LW0 1 (LDP)",
    ),
    "a cluster that is not there": (
        lambda: changed(put(LW, 0, clusters=0b101)),
        "stream LW0, instruction 0 (LDW): field 'clusters' breaks a rule; "
        "expected the mask names clusters of the program, which has 1, found cluster 2",
    ),
    "a ring with too few rows": (
        lambda: with_bits(MAC, 0, bit_of(isa.Convolve, "ring")),
        "stream MAC0, instruction 0: CONV: field 'ring' breaks a rule; "
        "expected at least the 4 rows that are read, or 0, found 1",
    ),
    "a queue without end": (
        lambda: dataclasses.replace(
            program(),
            queues={**program().queues, ST: program().queues[ST][:-64]},
            layer_of={**program().layer_of, ST: program().layer_of[ST][:-1]},
        ),
        "stream ST0 does not end with END; found ST",
    ),
    "another machine inside": (
        lambda: dataclasses.replace(
            program(), machine=dataclasses.replace(load("s256"), accumulator_bytes=512, accumulator_banks=1)
        ),
        "stream MAC0, instruction 1 (CONV): field 'accumulator' breaks a rule; "
        "expected written bytes lie inside the 512 of the accumulators scratchpad, found bytes 512 to 1024",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_unsafe_programs_are_refused_before_they_run(
    name: str, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, message = PROGRAMS[name]
    (tmp_path / "bad.twa").write_bytes(rebuilt(make()))
    monkeypatch.setattr(
        "tilewright.runtime.simulator.functional.CardsEngine.run", lambda *_: pytest.fail("it has been run")
    )
    assert fails(["run", "bad.twa", "--random", "1", "--engine", "device"]) == WHERE + message
    assert fails(["simulate", "bad.twa"]) == message


def test_programs_of_another_instruction_set_are_to_be_compiled_again(tmp_path: Path, fails: Fails) -> None:
    content = program().to_bytes()
    (tmp_path / "old.twa").write_bytes(holding(content[:4] + (1).to_bytes(4, "little") + content[8:]))
    message = (
        "device program: instruction set 1 is not the one that is run here; expected 7, found 1. "
        "Compile the model again."
    )
    assert fails(["run", "old.twa", "--random", "1", "--engine", "device"]) == WHERE + message
    assert fails(["simulate", "old.twa"]) == message
    assert fails(["inspect", "old.twa", "--disassemble"]) == message


def test_no_flipped_bit_of_an_instruction_crashes(rng: np.random.Generator) -> None:
    """Whatever bit is inverted, the program is refused with an error of its own, or is a sound one."""
    inputs = {"x": rng.standard_normal((1, 16, 4, 4)).astype(np.float32)}
    refused = 0
    for stream in streams(1):
        for index in range(len(program().queues[stream]) // 64):
            for bit in rng.choice(512, 16, replace=False):
                try:
                    with load_session(rebuilt(with_bits(stream, index, int(bit))), engine="device") as session:
                        session.run(inputs)
                except InstructionError:
                    refused += 1
    assert refused > 80


# Calibration data

SAMPLES = np.random.default_rng(0).standard_normal((3, 16, 4, 4)).astype(np.float32)
FORMATS = "expected an image, a .npy, .npz or .wav file, a folder of these, a .csv file, or 'random' for random inputs"
FOREIGN = (
    "is not a .npy or .npz file; found b'1, 2, ' at its beginning. "
    "Save it as an array of numbers with numpy.save or numpy.savez."
)


def with_nan() -> np.ndarray:
    array = SAMPLES.copy()
    array[1, 2, 3, 0] = np.nan
    array[1, 2, 3, 1] = np.inf
    return array


ARRAYS: dict[str, tuple[np.ndarray, str]] = {
    "not finite": (
        with_nan(),
        "'c.npy', sample 1 holds numbers that are not finite; found 2 of 256 NaN or infinite in input 'x'. "
        "Leave the sample out or repair it.",
    ),
    "shape": (
        SAMPLES[..., :3],
        "'c.npy' does not fit input 'x'; expected [samples, 16, 4, 4], found [3, 16, 4, 3]. "
        "Cut or pad the samples to one shape.",
    ),
    "rank": (SAMPLES.reshape(-1), "'c.npy' does not fit input 'x'; expected [samples, 16, 4, 4], found [768]"),
    "dtype": (
        SAMPLES.astype(np.int64),
        "'c.npy', sample 0 does not fit input 'x'; expected float32, found int64. "
        "Save the array as float32, scaled as the network expects its input.",
    ),
    "no sample": (SAMPLES[:0], "'c.npy' holds no sample; expected at least one, found 0 for x"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_calibration_arrays(name: str, tmp_path: Path, fails: Fails) -> None:
    array, message = ARRAYS[name]
    np.save(tmp_path / "c.npy", array)
    assert fails([*COMPILE, "--calibration", "c.npy"]) == f"calibration: {message}"


def test_calibration_files_that_hold_nothing(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "empty.npz")
    np.savez(tmp_path / "others.npz", picture=SAMPLES)
    for name in ("text.npy", "text.npz"):
        (tmp_path / name).write_text("1, 2, 3")
    for each in ("data.txt", "data"):
        (tmp_path / each).write_text("1, 2, 3")
    for name, message in {
        "folder": "there are no images in 'folder'; "
        "expected files that end in .bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp, .npy, .npz or .wav",
        "empty.npz": "'empty.npz' does not have the names of the inputs; expected x, found none. Give 'x' as well.",
        "others.npz": "'others.npz' does not have the names of the inputs; expected x, found picture. "
        "Give 'x' as well.",
        "none.npy": f"there is no 'none.npy'; {FORMATS}",
        "text.npy": f"'text.npy' {FOREIGN}",
        "text.npz": f"'text.npz' {FOREIGN}",
        "data.txt": "'data.txt' is not calibration data; expected images, .npy, .npz, .wav or .csv, found .txt",
        "data": "'data' is not calibration data; expected images, .npy, .npz, .wav or .csv, found a name without an "
        "ending",
    }.items():
        assert fails([*COMPILE, "--calibration", name]) == f"calibration: {message}"


def test_images_for_a_network_that_takes_none(tmp_path: Path, fails: Fails) -> None:
    from PIL import Image

    (tmp_path / "folder").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "folder" / "a.png")
    assert fails([*COMPILE, "--calibration", "folder"]) == (
        "calibration: images do not fit this input; "
        "expected numbers of shape [N, C, H, W], with layout=nhwc [N, H, W, C], of 1 to 4 channels C, "
        "found f32[1,16,4,4]. "
        "Give the calibration inputs as .npy or .npz instead."
    )


def test_a_network_in_floating_point_without_calibration(fails: Fails) -> None:
    assert fails(COMPILE) == (
        "calibration: the model is in floating point, and int8 needs sample inputs to derive scales from. "
        "Give --calibration FOLDER of images, a .npy, .npz, .csv or .wav file, or 'random' to try things out; "
        "or leave the network in floating point."
    )


def test_a_network_in_double_precision_is_not_quantised(tmp_path: Path, fails: Fails) -> None:
    double, weights = TensorProto.DOUBLE, np.ones((3, 4), np.float64)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    write_model(tmp_path / "double.onnx", graph_model(nodes, [("x", double, [2, 3])], initializers={"w": weights}))
    assert fails(["compile", "double.onnx", "--calibration", "random"]) == (
        "calibration: nothing in this network can be quantised; "
        "expected convolutions or matrix products in f32 with constant weights, found some in f64. "
        "Convert the model to float32, or leave it in floating point."
    )


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_no_samples_at_all(limit: str, fails: Fails) -> None:
    message = f"calibration: the limit leaves no sample; expected at least 1, found {limit}"
    assert fails([*RANDOM, "--calibration-limit", limit]) == message


def test_methods_and_precisions_that_are_none(fails: Fails) -> None:
    for words, message in (
        (
            ["--calibration-method", "best"],
            "Invalid value for '--calibration-method': 'best' is none of mse, minmax, percentile. "
            "See `tilewright compile --help`.",
        ),
        (
            ["--calibration-method", "percentile", "--percentile", "200"],
            "a percentile lies between 50 and 100; found 200.0",
        ),
        (
            ["--precision", "int9"],
            "Invalid value for '--precision': 'int9' is none of fp32, bf16, int8. Did you mean 'int8'? "
            "See `tilewright compile --help`.",
        ),
    ):
        assert fails([*RANDOM, *words], code=2) == message


# Places


def affinity(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "places").write_text(text)
    return ["--affinity", "places"]


def test_places_for_ops_that_are_not_there(tmp_path: Path, fails: Fails) -> None:
    assert fails([*RANDOM, *affinity(tmp_path, "convolution = cpu\n")]) == (
        "partition: the affinity names ops that the network does not have; found 'convolution'. "
        "`tilewright inspect` lists the ops with their names."
    )
    assert fails([*RANDOM, *affinity(tmp_path, "conv = cpu\nconv1 = cpu\n")]) == (
        "partition: the affinity names ops that the network does not have; found 'conv1'. 'conv1' is like 'conv'."
    )


def test_names_of_places_are_looked_at_before_calibration(tmp_path: Path, fails: Fails) -> None:
    words = [*COMPILE, "--calibration", "missing.npy"]
    assert fails([*words, *affinity(tmp_path, "conv = cpu\n")]).startswith("calibration: there is no 'missing.npy'")
    assert fails([*words, *affinity(tmp_path, "conv1 = cpu\n")]).startswith("partition: the affinity names ops that")


def test_places_that_are_none(tmp_path: Path, fails: Fails) -> None:
    assert fails([*RANDOM, *affinity(tmp_path, "# comment\nconv = gpu\n")], lines=3) == (
        "line 2, column 8: affinity file 'places': expected device or cpu for 'conv', found 'gpu'\nconv = gpu\n       ^"
    )
    assert fails([*RANDOM, "--affinity", "none"]) == ("cannot read 'none': No such file or directory")
    for order in ("gpu", "device,device", ""):
        assert fails([*RANDOM, "--devices", order], code=2) == (
            f"wrong order of places; expected one or both of device and cpu, each once, found {order}"
        )


@pytest.mark.parametrize(
    "words",
    [["--affinity", "places"], ["--machine", "s256"], ["--devices", "cpu"], ["--calibration", "random"]],
    ids=lambda words: words[0],
)
def test_options_of_int8_in_floating_point(words: list[str], tmp_path: Path, fails: Fails) -> None:
    affinity(tmp_path, "conv = cpu\n")
    precision = ["--precision", "fp32"] if words[0] == "--calibration" else []
    assert fails(["compile", "m.onnx", *words, *precision], code=2) == (
        f"{words[0]} is for precision int8; in fp32 the whole network runs on the CPU. "
        f"Give --precision int8, or leave {words[0]} out."
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--calibration-limit", "3"],
        ["--calibration-method", "minmax"],
        ["--percentile", "99"],
    ],
    ids=lambda words: words[0],
)
def test_options_of_calibration_without_it(words: list[str], fails: Fails) -> None:
    assert fails([*COMPILE, *words], code=2) == (
        f"{words[0]} has no use without calibration data. Give calibration data, or leave {words[0]} out."
    )


def test_preprocessing_for_what_is_no_image(tmp_path: Path, fails: Fails) -> None:
    np.save(tmp_path / "c.npy", SAMPLES)
    for source in ("c.npy", "random"):
        assert fails([*COMPILE, "--calibration", source, "--preprocess", "scale=1"]) == (
            "images do not fit this input; expected numbers of shape [N, C, H, W], "
            "with layout=nhwc [N, H, W, C], of 1 to 4 channels C, found f32[1,16,4,4]"
        )
    message = fails([*COMPILE, "--calibration", "none", "--preprocess", "scale=1"])
    assert message.startswith("calibration: there is no 'none'; ")


def test_passes_that_are_not_there(fails: Fails) -> None:
    assert fails(["compile", "m.onnx", "--print-after", "fusee"], code=2) == (
        "there is no pass 'fusee' to print after. Did you mean 'fuse'?"
    )
    message = fails(["compile", MODEL, "-o", "m.twa", "--print-after", "quantize"], code=2)
    assert message.startswith(
        "there is no pass 'quantize' to print after (known: fold_constants, remove_fake_quantization, "
    )


def test_an_operator_that_the_device_lacks(tmp_path: Path, fails: Fails) -> None:
    words = ["compile", MODEL, "-o", "m.twa", "--calibration", "random"]
    assert fails([*words, *affinity(tmp_path, "probabilities = device\n")]) == (
        "partition: softmax: node 'probabilities': the affinity puts 'probabilities' on the device, "
        "which cannot run it: the device has no softmax. Give it to the CPU, or leave it out."
    )


def test_an_artifact_of_which_nothing_runs_on_the_device(fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RANDOM, "--devices", "cpu"]) == 0
    capsys.readouterr()
    assert fails(["simulate", "m.twa"]) == (
        "simulate: m.twa holds no device program; found the whole network on the CPU. "
        "See by tilewright inspect why nothing runs on the accelerator."
    )


@pytest.mark.usefixtures("fails")
def test_a_network_of_which_nothing_is_placed_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = affinity(tmp_path, "y = cpu\n")
    assert main([*RANDOM, *places]) == 0
    said = "nothing of the network runs on the accelerator; `tilewright inspect` says why, op by op"
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_device_alone(fails: Fails) -> None:
    assert fails([*RANDOM, "--devices", "device"]) == (
        "partition: quantize: the op cannot run on the device, and no other place is allowed: "
        'converts between real numbers and integers, which the host does. Allow the CPU by the order "device,cpu".'
    )


@pytest.mark.parametrize(
    "words", [["simulate", "a.twa"], ["run", "a.twa", "--random", "1", "--engine", "device"], ["verify", "a.twa"]]
)
def test_constants_of_another_size(words: list[str], tmp_path: Path, fails: Fails) -> None:
    constants = Artifact.open(artifact()).copy("weights.device_0")
    (tmp_path / "a.twa").write_bytes(holding(constants[:-64], "weights.device_0"))
    assert fails(words) == (
        "load artifact: section 'weights.device_0' does not hold the constants of device program 'device_0'; "
        f"expected {len(constants)} bytes, found {len(constants) - 64}"
    )


# Tensors that fit no scratchpad, and networks that fit no DRAM


def test_a_network_that_does_not_fit_the_dram_of_a_card(tmp_path: Path, fails: Fails) -> None:
    tiny(tmp_path, maps_bytes=1024, weight_bytes=32768, accumulator_bytes=4096, pixel_lanes=1, dram_bytes=1 << 16)
    write_model(tmp_path / "m.onnx", convolution_model(side=80))
    message = fails([*RANDOM, "--machine", "tiny.json", *affinity(tmp_path, "conv = device\n")])
    assert message.startswith("the weights and maps of the device program do not fit into the DRAM of a card; ")
    assert "expected at most 65536 bytes ('dram_bytes' of machine 'tiny'), found 2" in message
    assert message.endswith(". Compile for a machine with more, or leave ops to the CPU by --affinity.")
    assert not (tmp_path / "m.twa").exists()


def tiny(folder: Path, **changes: int) -> None:
    """``tiny.json``: S256 with less memory."""
    machine = dataclasses.replace(
        load("s256"), name="tiny", maps_banks=1, weight_banks=1, accumulator_banks=1, **changes
    )
    (folder / "tiny.json").write_text(json.dumps({"format": 1, **machine.to_dictionary()}))


def test_weights_that_fit_no_scratchpad(tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(tmp_path, weight_bytes=512)
    words = [*RANDOM, "--machine", "tiny.json"]
    rule = "The smallest tile of the op must fit the scratchpads"
    found = "2304 bytes needed of the weight scratchpad, which has 512 on tiny"
    assert fails([*words, *affinity(tmp_path, "conv = device\n")]) == (
        "partition: conv: node 'conv': the affinity puts 'conv' on the device, which cannot run it; "
        f"expected {rule}, found {found} (@w_1). Give it to the CPU, or leave it out."
    )
    assert main(words) == 0
    assert f"  on the CPU       conv y: {rule}; found {found}\n" in capsys.readouterr().out
    placed = {record.op: record for record in details_of(Artifact.open(tmp_path / "m.twa")).placement}
    assert (placed["conv"].on, placed["conv"].why) == ("cpu", f"conv @w_1: {rule}; found {found}")
    with load_session(tmp_path / "m.twa", engine="device") as session:
        session.run({"x": SAMPLES[:1]})
