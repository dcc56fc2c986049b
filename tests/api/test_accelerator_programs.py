"""Programs for the Accelerator API of both generations: unedited, under ``tilewright.compat``, on real networks.

Each must give the numbers that `tilewright.load` gives: of the integers where it is calibrated, otherwise those of
onnxruntime within the error of floating point, or of 16-bit activations.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from compat_programs import (
    PROGRAMS,
    Arrays,
    Programs,
    draw_digits,
    draw_pictures,
    floating_point,
    lay_out,
    outputs_of,
    pair_model,
    picture_model,
    read_arrays,
)
from random_seeds import in_turn

import tilewright
from tilewright.compiler.demo import MODEL

DIGITS = (1, 8, 8)
PICTURES = (3, 32, 32)
GENERATIONS = ("second", "third")

both_generations = pytest.mark.parametrize("generation", GENERATIONS)


def _pictures_module() -> Callable[[Path, tuple[int, ...]], np.ndarray]:
    """The function with which the programs read pictures."""
    specification = importlib.util.spec_from_file_location("pictures", PROGRAMS / "accelerator" / "pictures.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.read


read = _pictures_module()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_digits(tmp_path_factory.mktemp("digits") / "images", 11)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_pictures(tmp_path_factory.mktemp("pictures") / "images", 4)


@pytest.fixture(scope="module")
def calibration(digits: list[Path]) -> Path:
    """Samples for the digits, all that the programs see."""
    file = digits[0].parent.parent / "samples.npz"
    np.savez(file, image=np.stack([read(digit, DIGITS) for digit in digits]))
    return file


@pytest.fixture(scope="module")
def integers(calibration: Path) -> tilewright.Session:
    """The digits network on the accelerator's integers."""
    return tilewright.load(tilewright.compile(MODEL, calibration=calibration), engine="software")


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """Without a word of how to quantise."""
    return lay_out("accelerator", tmp_path)


@pytest.fixture
def calibrated(tmp_path: Path, calibration: Path) -> Programs:
    return lay_out("accelerator", tmp_path, TILEWRIGHT_CALIBRATION=calibration)


def assert_equal(found: Arrays, session: tilewright.Session, images: list[Path], shape: tuple[int, ...]) -> None:
    assert sorted(found) == sorted(image.name for image in images), "each picture once"
    for image in images:
        (expected,) = outputs_of(session, read(image, shape))
        assert found[image.name].tobytes() == expected.tobytes(), image.name


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Within what 16-bit activations may lose."""
    assert found.dtype == np.float32
    assert found.size == expected.size
    np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=0, atol=0.02 * np.abs(expected).max())


@both_generations
def test_one_picture(generation: str, programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    model = picture_model(tmp_path / "network.onnx")
    (tmp_path / "classes.txt").write_text("".join(f"class {index}\n" for index in range(12)))
    program = f"{generation}/demos/simple.py"
    options = ("-r", 3, 32, 32, "-c", tmp_path / "classes.txt", "-o", tmp_path / "found.npz")
    shown = programs.run(program, model, pictures[0], *options, fresh=True)
    (found,) = read_arrays(tmp_path / "found.npz").values()
    (expected,) = floating_point(model, read(pictures[0], PICTURES))
    assert_close(found, expected)
    best = int(expected.argmax())
    after_title = shown.splitlines()[shown.splitlines().index(f"-------------- {pictures[0]} --------------") + 1]
    assert after_title.startswith(f"class {best} (")
    assert shown.count("\nclass ") == 5
    if generation == "second":
        with tilewright.load(programs.file(program, "save.bin")) as session:
            assert found.tobytes() == outputs_of(session, read(pictures[0], PICTURES))[0].tobytes()
        assert "count 12\n" in shown
    else:
        assert "shape (1, 12) float32\n" in shown


@both_generations
def test_without_calibration_a_warning_says_how_to_give_samples(
    generation: str, programs: Programs, digits: list[Path]
) -> None:
    shown = programs.run(f"{generation}/demos/simple.py", MODEL, digits[0], "-r", 1, 8, 8, "-d", "bn")
    assert shown.count("CalibrationWarning") == 1
    assert "TILEWRIGHT_CALIBRATION" in shown


@pytest.mark.parametrize(("style", "generation"), in_turn(["polling", "interleaving", "threaded"], GENERATIONS))
def test_pictures_of_a_folder(
    style: str,
    generation: str,
    calibrated: Programs,
    digits: list[Path],
    integers: tilewright.Session,
    tmp_path: Path,
) -> None:
    shown = calibrated.run(f"{generation}/demos/{style}.py", MODEL, digits[0].parent, tmp_path / "found.npz", *DIGITS)
    assert_equal(read_arrays(tmp_path / "found.npz"), integers, digits, DIGITS)
    titles = [line.split()[1] for line in shown.splitlines() if line.startswith("-----")]
    assert titles == [digit.name for digit in digits][: len(titles)]
    assert len(titles) >= len(digits) - 1


@both_generations
def test_a_slow_consumer_loses_no_picture_and_what_is_no_picture_is_passed_over(
    generation: str, calibrated: Programs, integers: tilewright.Session, tmp_path: Path
) -> None:
    digits = draw_digits(tmp_path / "images", 6)
    (tmp_path / "images" / "digit02b.txt").write_text("no picture")
    calibrated.run(f"{generation}/demos/threaded.py", MODEL, tmp_path / "images", tmp_path / "found.npz", *DIGITS, 0.3)
    assert_equal(read_arrays(tmp_path / "found.npz"), integers, digits, DIGITS)


@pytest.mark.parametrize(("units", "generation"), in_turn([(1, 1, 4), (2, 2, 1), (1, 2, 2)], GENERATIONS), ids=str)
def test_batches_with_a_short_last_one(
    units: tuple[int, int, int],
    generation: str,
    calibrated: Programs,
    digits: list[Path],
    integers: tilewright.Session,
    tmp_path: Path,
) -> None:
    cards, clusters, each = units
    options = ("-r", *DIGITS, "-f", cards, "-C", clusters, "-b", each, "-o", tmp_path / "found.npz")
    shown = calibrated.run(f"{generation}/demos/threaded_batch.py", MODEL, digits[0].parent, *options)
    assert_equal(read_arrays(tmp_path / "found.npz"), integers, digits, DIGITS)
    if generation == "second":
        assert "classes 10 batch 4 " in shown


@pytest.mark.parametrize(
    "program", ["second/demos/two_networks", "third/demos/two_networks", "third/demos/linked_networks"]
)
def test_two_networks(program: str, programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    model = picture_model(tmp_path / "network.onnx")
    arguments = (model, "3x32x32", MODEL, "1x8x8", pictures[0], tmp_path / "found.npz")
    programs.run(f"{program}.py", *arguments)
    found = read_arrays(tmp_path / "found.npz")
    assert_close(found["first"], floating_point(model, read(pictures[0], PICTURES))[0])
    assert_close(found["second"], floating_point(MODEL, read(pictures[0], DIGITS))[0])


def test_run_from_three_threads(
    calibrated: Programs, digits: list[Path], integers: tilewright.Session, tmp_path: Path
) -> None:
    calibrated.run("second/demos/three_threads.py", MODEL, digits[0].parent, tmp_path / "found.npz", *DIGITS)
    found = read_arrays(tmp_path / "found.npz")
    for prefix in ("one ", "own "):
        part = {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}
        assert_equal(part, integers, digits, DIGITS)


@both_generations
def test_user_objects_come_back_as_they_are(generation: str, programs: Programs) -> None:
    assert "objects 25\n" in programs.run(f"{generation}/demos/user_objects.py", MODEL, *DIGITS)


@pytest.mark.parametrize("engine", ["software", "device"])
def test_shapes_of_inputs_and_results(
    engine: str,
    tmp_path: Path,
    calibration: Path,
    digits: list[Path],
    integers: tilewright.Session,
) -> None:
    programs = lay_out("accelerator", tmp_path, TILEWRIGHT_CALIBRATION=calibration, TILEWRIGHT_ENGINE=engine)
    programs.run("second/demos/result_shapes.py", MODEL, digits[0], tmp_path / "found.npz", *DIGITS)
    found = read_arrays(tmp_path / "found.npz")
    image = read(digits[0], DIGITS)
    assert found["result"].tobytes() == outputs_of(integers, image)[0].tobytes()
    np.testing.assert_allclose(found["accurate"], floating_point(MODEL, image)[0].ravel(), atol=1e-5)


def test_size_strings(programs: Programs, tmp_path: Path) -> None:
    (picture,) = draw_pictures(tmp_path / "images", 1, (32, 24))
    model = picture_model(tmp_path / "network.onnx", size=(24, 32))
    shown = programs.run("second/demos/sizes.py", model, picture, tmp_path / "found.npz")
    found = read_arrays(tmp_path / "found.npz")
    (expected,) = floating_point(model, read(picture, (3, 24, 32)))
    for name in ("size", "batch", "picture"):
        assert_close(found[name], expected)
    assert_close(found["swapped"], floating_point(model, read(picture, (3, 32, 24)))[0])
    larger = picture_model(tmp_path / "larger.onnx", size=(28, 40))
    assert_close(found["larger"], floating_point(larger, read(picture, (3, 28, 40)))[0])
    for line in ("layers 0 12\n", "layers -1 12\n", "refused: "):
        assert line in shown
    refusal = shown[shown.index("refused: ") :].splitlines()[0]
    assert "[1, 4, 24, 32]" in refusal, "the size asked for"
    assert "[1, 3, 24, 32]" in refusal, "the model's"


@pytest.mark.parametrize("program", ["several_cards", "threaded_cards"])
def test_three_networks_on_three_cards(program: str, programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    models = [picture_model(tmp_path / "models" / f"network{seed}.onnx", seed=seed) for seed in range(3)]
    programs.run(f"third/demos/{program}.py", tmp_path / "models", pictures[0].parent, tmp_path / "found.npz")
    found = read_arrays(tmp_path / "found.npz")
    assert len(found) == 3 * len(pictures)
    for model in models:
        for picture in pictures:
            expected = floating_point(model, read(picture, PICTURES))[0]
            assert_close(found[f"{model.name} {picture.name}"], expected)


def test_samples_choose_the_formats(programs: Programs, digits: list[Path], tmp_path: Path) -> None:
    shown = programs.run("third/demos/quantise.py", MODEL, digits[3], digits[0].parent, tmp_path / "found.npz", *DIGITS)
    assert "CalibrationWarning" not in shown
    found = read_arrays(tmp_path / "found.npz")
    image = read(digits[3], DIGITS)
    samples = [read(digit, DIGITS) for digit in digits]
    with tilewright.load(tilewright.compile(MODEL, calibration=samples), engine="software") as session:
        assert found["result"].tobytes() == outputs_of(session, image)[0].tobytes()
    np.testing.assert_allclose(found["accurate"], floating_point(MODEL, image)[0], atol=1e-5)


def test_containers_of_inputs_and_results(programs: Programs, tmp_path: Path) -> None:
    model, pair = picture_model(tmp_path / "network.onnx"), pair_model(tmp_path / "pair.onnx")
    programs.run("third/demos/containers.py", model, pair, tmp_path / "found.npz")
    found = read_arrays(tmp_path / "found.npz")
    images = np.random.default_rng(1).standard_normal((4, 3, 32, 32)).astype(np.float32)
    for image, row in zip(images, found["batch"], strict=True):
        assert_close(row, floating_point(model, image)[0])
    for name, expected in zip(("map", "scores"), floating_point(pair, images[0], images[1]), strict=True):
        assert found[name].shape == expected.shape
        assert_close(found[name], expected)


def test_information_and_flags(programs: Programs, tmp_path: Path) -> None:
    shown = programs.run("third/demos/information.py", picture_model(tmp_path / "network.onnx"))
    lines = dict(line.split(" ", 1) for line in reversed(shown.splitlines()) if " " in line)
    assert lines["outshapes"] == "str 1x12"
    assert lines["innames"] == "str image"
    for name, kind in {
        "hwtime": "float",
        "addroff": "int",
        "freq": "int",
        "maxcluster": "int",
        "maxfpga": "int",
        "version": "str",
        "build": "str",
        "temperature": "float",
        "busy_comp": "int",
        "blockingmode": "int",
    }.items():
        assert lines[name].split()[0] in (kind, "bool" if kind == "int" else kind), name
    assert shown.count("refused: ") == 3


LAYERS = [
    f"{generation}/layers/{file.name}"
    for generation in GENERATIONS
    for file in sorted((PROGRAMS / "accelerator" / generation / "layers").glob("*.py"))
]


@pytest.mark.parametrize("program", LAYERS)
def test_layers(program: str, programs: Programs) -> None:
    """The program itself compares with onnxruntime; here its numbers are those of the session on the same file."""
    shown = programs.run(program)
    assert "maximum error" in shown
    has_weights = not any(name in program for name in ("pool", "vector_add", "vector_mul", "upsampling"))
    assert programs.file(program, "net.onnx.data").exists() == has_weights
    arrays = read_arrays(programs.file(program, "layer.npz"))
    inputs = [array for name, array in arrays.items() if name.startswith("input ")]
    artifact = programs.file(program, "save.bin")
    with tilewright.load(
        artifact if artifact.exists() else tilewright.compile(programs.file(program, "net.onnx"))
    ) as s:
        assert arrays["result"].tobytes() == outputs_of(s, *inputs)[0].tobytes()


@pytest.mark.parametrize("layer", ["matrix_vector", "lstm"])
def test_layers_in_integers(layer: str, programs: Programs, tmp_path: Path, rng: np.random.Generator) -> None:
    """The limits of the programs, 2 % on average and 10 % at most, hold with integers of 8 bits as well."""
    program = f"third/layers/{layer}.py"
    programs.run(program)
    shapes = read_arrays(programs.file(program, "layer.npz"))
    samples: Arrays = {
        name.removeprefix("input "): rng.standard_normal((32 * array.shape[0], *array.shape[1:])).astype(np.float32)
        for name, array in shapes.items()
        if name.startswith("input ")
    }
    np.savez(tmp_path / "samples.npz", allow_pickle=False, **samples)
    calibrated = Programs(programs.root, {"TILEWRIGHT_CALIBRATION": str(tmp_path / "samples.npz")})
    assert "maximum error" in calibrated.run(program)
    arrays = read_arrays(programs.file(program, "layer.npz"))
    inputs = [arrays[f"input {name}"] for name in samples]
    model = programs.file(program, "net.onnx")
    with tilewright.load(tilewright.compile(model, calibration=samples), engine="software") as session:
        assert arrays["result"].tobytes() == outputs_of(session, *inputs)[0].tobytes()


def test_several_outputs(programs: Programs, tmp_path: Path) -> None:
    pair = pair_model(tmp_path / "pair.onnx")
    assert "counts 512 5\n" in programs.run("second/demos/several_outputs.py", pair, tmp_path / "found.npz")
    found = read_arrays(tmp_path / "found.npz")
    left, right = np.random.default_rng(1).standard_normal((2, 2, 3, 32, 32)).astype(np.float32)[0]
    for name, expected in zip(("first", "second"), floating_point(pair, left, right), strict=True):
        assert_close(found[name], expected)


def test_clusters_and_cards(calibrated: Programs, integers: tilewright.Session, tmp_path: Path) -> None:
    calibrated.run("second/demos/clusters.py", MODEL, tmp_path / "found.npz", *DIGITS)
    found = read_arrays(tmp_path / "found.npz")
    images = found.pop("images")
    assert {name: len(rows) for name, rows in found.items()} == {
        "1 1 0": 1,
        "1 4 0": 4,
        "2 4 0": 8,
        "1 4 1": 1,
        "2 2 1": 2,
    }
    for rows in found.values():
        for image, row in zip(images, rows, strict=False):
            assert row.tobytes() == outputs_of(integers, image)[0].tobytes()


def test_a_divided_batch_with_the_keywords_of_2020(
    calibrated: Programs, digits: list[Path], integers: tilewright.Session, tmp_path: Path
) -> None:
    """As public programs divide it, with ``/``: images of a cluster come as ``2.0``."""
    arguments = (MODEL, MODEL, digits[0].parent, tmp_path / "found.npz")
    shown = calibrated.run("third/demos/divided_batch.py", *arguments, *DIGITS)
    found = read_arrays(tmp_path / "found.npz")
    for prefix in ("first ", "other "):
        part = {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}
        assert_equal(part, integers, digits, DIGITS)
    assert [line for line in shown.splitlines() if line.startswith("classes")] == [
        "classes 10 of a batch of 8",
        "classes 10 of a batch of 4",
    ]
    assert [line.split()[1:3] for line in shown.splitlines() if line.startswith("refused: ")] == [
        ["Init", "failed"],
        ["-1", "SetFlag:"],
        ["-1", "machine"],
        ["-1", "input:"],
    ]


def test_calls_in_another_order(programs: Programs, tmp_path: Path) -> None:
    pair = pair_model(tmp_path / "pair.onnx")
    shown = programs.run("second/demos/other_order.py", pair, MODEL, tmp_path / "found.npz")
    assert "codes -1 -1 -1 -1 -1 -1 -1 -1\n" in shown
    assert "\ncodes -1\n" in shown
    assert "sizes 10 512 5\n" in shown
    found = read_arrays(tmp_path / "found.npz")
    for number in range(12):
        digit, left, right = (found[f"input {number} {index}"] for index in range(3))
        expected = (*floating_point(MODEL, digit), *floating_point(pair, left, right))
        for index, each in enumerate(expected):
            assert_close(found[f"result {number} {index}"], each)


@both_generations
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet8_float", 32),
        ("mobilenet_v1_0.25_128_f32", 128),
        pytest.param("mobilenet_v2_1.0_224_f32", 224, marks=pytest.mark.sweep),
    ],
)
def test_real_networks(
    name: str, size: int, generation: str, programs: Programs, data_folder: Path, tmp_path: Path
) -> None:
    model, shape = data_folder / "models" / f"{name}.onnx", (3, size, size)
    photos = sorted((data_folder / "images" / "imagenet500").iterdir())[:4]
    (tmp_path / "photos").mkdir()
    for photo in photos:
        (tmp_path / "photos" / photo.name).symlink_to(photo)
    program = f"{generation}/demos/threaded.py"
    programs.run(program, model, tmp_path / "photos", tmp_path / "found.npz", *shape)
    found = read_arrays(tmp_path / "found.npz")
    assert len(found) == len(photos)
    for photo in photos:
        (expected,) = floating_point(model, read(photo, shape))
        assert_close(found[photo.name], expected)
        assert found[photo.name].argmax() == expected.argmax()
