"""``FWDNXT``: sizes, counts, files, arrays of the caller."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import accelerator_networks as networks
import numpy as np
import pytest
from onnx import TensorProto

import tilewright
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.errors import CalibrationWarning
from tilewright.runtime.api.accelerator import FWDNXT, AcceleratorError
from tilewright.runtime.api.accelerator.errors import SaturationWarning, SizeWarning
from tilewright.runtime.api.accelerator.facts import Network
from tilewright.runtime.api.accelerator.networks.binary import Batch, save

Array = np.ndarray
pytestmark = pytest.mark.filterwarnings("ignore::tilewright.errors.CalibrationWarning")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What is computed in numbers can be told from what is not by each bit.
    monkeypatch.setenv("TILEWRIGHT_ENGINE", "float")


@pytest.fixture
def in_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILEWRIGHT_ENGINE")


@pytest.fixture
def calibrated_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranges of the digits network come from images of digits."""
    digits = load_digits()
    np.save(tmp_path / "digits.npy", digits.prepare(digits.calibration_images[:10]))
    monkeypatch.setenv("TILEWRIGHT_CALIBRATION", str(tmp_path / "digits.npy"))
    monkeypatch.delenv("TILEWRIGHT_ENGINE")


@pytest.fixture
def ie() -> Iterator[FWDNXT]:
    accelerator = FWDNXT()
    yield accelerator
    accelerator.Free()


def expected(model: Path, *images: Array, name: str = "x") -> Array:
    """What `tilewright.load` gives for each image, one after the other."""
    with tilewright.load(tilewright.compile(model)) as session:
        shape = session.inputs[0].shape
        return np.concatenate([session.run({name: each.reshape(shape)})["y"].reshape(-1) for each in images])


def test_compile_init_run(ie: FWDNXT, rng: np.random.Generator) -> None:
    model = networks.convolution(Path("net.onnx"))
    count = ie.Compile("6x4x3", "net.onnx", "save.bin")
    assert count == 2 * 4 * 6
    assert type(count) is int
    assert ie.Init("save.bin", "") == count
    image = rng.standard_normal((3, 4, 6)).astype(np.float32)
    result = np.full(count, np.nan, np.float32)
    assert ie.Run(image, result) is None
    assert result.tobytes() == expected(model, image).tobytes()


def test_the_file_is_an_artifact_and_is_overwritten(ie: FWDNXT) -> None:
    networks.convolution(Path("a.onnx"))
    networks.doubling(Path("b.onnx"))
    ie.Compile("6x4x3", "a.onnx", "save.bin")
    ie.Compile("1x1x4", "b.onnx", "save.bin")
    with tilewright.load("save.bin") as session:
        assert [spec.shape for spec in session.inputs] == [(1, 4)]
    assert FWDNXT().Init("save.bin", "") == 4


def test_any_artifact_is_loaded(ie: FWDNXT) -> None:
    tilewright.compile(networks.doubling(Path("net.onnx")), output="net.twa")
    assert ie.Init("net.twa", "") == 4
    assert ie.GetInfo("numbatch") == 1


@pytest.mark.parametrize("shape", [(48,), (1, 1, 48), (1, 2, 4, 6), (48, 1)])
def test_results_have_any_shape(ie: FWDNXT, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    model = networks.convolution(Path("net.onnx"))
    ie.Compile("6x4x3", "net.onnx", "save.bin")
    ie.Init("save.bin", "")
    image = rng.standard_normal((1, 3, 4, 6)).astype(np.float32)
    result = np.zeros(shape, np.float32)
    ie.Run(image, result)
    assert (result.reshape(-1) == expected(model, image)).all()


def test_results_go_in_c_order_into_arrays_of_other_strides(ie: FWDNXT, rng: np.random.Generator) -> None:
    model = networks.convolution(Path("net.onnx"))
    ie.Compile("6x4x3", "net.onnx", "save.bin")
    ie.Init("save.bin", "")
    image = np.asfortranarray(rng.standard_normal((3, 4, 6)).astype(np.float32))
    whole = np.zeros((48, 2), np.float32)
    ie.Run(image, whole[:, 1])
    assert (whole[:, 1] == expected(model, image)).all()
    assert (whole[:, 0] == 0).all()
    columns = np.zeros((4, 12), np.float32, order="F")
    ie.Run(image, columns)
    assert (columns.reshape(-1) == expected(model, image)).all()


def test_what_is_beyond_the_results_stays(ie: FWDNXT, rng: np.random.Generator) -> None:
    networks.convolution(Path("net.onnx"))
    ie.Compile("6x4x3", "net.onnx", "save.bin")
    ie.Init("save.bin", "")
    result = np.full(100, 7, np.float32)
    ie.Run(rng.standard_normal((3, 4, 6)).astype(np.float32), result)
    assert (result[48:] == 7).all()
    assert not (result[:48] == 7).any()


def test_another_size_compiles_the_network_again(ie: FWDNXT, rng: np.random.Generator) -> None:
    networks.convolution(Path("net.onnx"), 4, 6)
    assert ie.Compile("9x8x3", "net.onnx", "save.bin") == 2 * 8 * 9
    ie.Init("save.bin", "")
    image = rng.standard_normal((3, 8, 9)).astype(np.float32)
    result = np.zeros((2, 8, 9), np.float32)
    ie.Run(image, result)
    larger = networks.convolution(Path("larger.onnx"), 8, 9)
    assert (result.reshape(-1) == expected(larger, image)).all()


def test_a_size_with_height_and_width_swapped_is_that_of_the_model(ie: FWDNXT) -> None:
    networks.convolution(Path("net.onnx"), 4, 6)
    ie.Compile("4x6x3", "net.onnx", "save.bin")
    ie.Init("save.bin", "")
    assert ie.GetInfo("inshapes") == "1x3x4x6"


def test_what_the_model_leaves_open_is_filled_in(ie: FWDNXT) -> None:
    networks.convolution(Path("net.onnx"), "height", "width", "batch")
    assert ie.Compile("6x4x3", "net.onnx", "save.bin") == 48
    ie.Init("save.bin", "")
    assert ie.GetInfo("inshapes") == "1x3x4x6"


def test_a_size_that_the_network_does_not_allow_names_both(ie: FWDNXT) -> None:
    networks.classifier(Path("net.onnx"))
    with pytest.raises(AcceleratorError) as caught:
        ie.Compile("9x8x3", "net.onnx", "save.bin")
    assert str(caught.value).startswith("Compile: the network does not allow inputs of this size: ")
    assert str(caught.value).endswith("expected x [1, 3, 4, 8], found x [1, 3, 8, 9]")
    assert not Path("save.bin").exists()


def test_several_inputs(ie: FWDNXT, rng: np.random.Generator) -> None:
    networks.addition(Path("add.onnx"))
    assert ie.Compile("1x1x8;1x1x8", "add.onnx", "add.bin", 1, 1) == 8
    ie.Init("./add.bin", "")
    a, b = rng.standard_normal((2, 1, 8, 1, 1)).astype(np.float32)
    result = np.zeros((1, 1, 8), np.float32)
    for images in ((a, b), [a, b]):
        result[...] = 0
        ie.Run(images, result)
        assert (result.reshape(-1) == (a + b).reshape(-1)).all()


def test_of_several_sizes_one_that_its_input_cannot_have_is_left_aside(ie: FWDNXT) -> None:
    networks.joined(Path("joined.onnx"))
    with pytest.warns(SizeWarning) as caught:
        assert ie.Compile("1x1x4x1;1x1x4x1", "joined.onnx", "joined.bin") == 12
    assert str(caught[0].message) == (
        "Compile: the size does not fit input 'b'; expected [1, 1, 8], found 1x1x4, which is 4 elements. It is "
        "compiled as the model has it"
    )
    ie.Init("joined.bin", "")
    a, b = np.arange(4, dtype=np.float32), np.arange(8, dtype=np.float32)
    result = np.zeros(12, np.float32)
    ie.Run([a, b], result)
    assert result.tolist() == [*a, *b]
    with pytest.raises(AcceleratorError, match=r"input 'b' does not hold whole images; expected 8 elements"):
        ie.Run([a, a], result)


def test_several_outputs(ie: FWDNXT) -> None:
    networks.two_outputs(Path("net.onnx"))
    assert ie.Compile("1x1x4", "net.onnx", "save.bin") == (4, 1)
    assert ie.Init("save.bin", "") == (4, 1)
    doubled, total = np.zeros(4, np.float32), np.zeros(1, np.float32)
    ie.Run(np.arange(4, dtype=np.float32), (doubled, total))
    assert doubled.tolist() == [0, 2, 4, 6]
    assert total.tolist() == [6]


@pytest.mark.parametrize("layers", [0, -1, 2, 3])
def test_all_layers(ie: FWDNXT, layers: int) -> None:
    networks.convolution(Path("net.onnx"))
    ie.Compile("6x4x3", "net.onnx", "save.bin", nlayers=layers)
    ie.Init("save.bin", "")
    assert ie.GetInfo("outnames") == "y"


def test_the_first_layers_alone(ie: FWDNXT, rng: np.random.Generator) -> None:
    model = networks.convolution(Path("net.onnx"))
    image = rng.standard_normal((3, 4, 6)).astype(np.float32)
    result = np.zeros(48, np.float32)
    ie.Compile("6x4x3", "net.onnx", "save.bin", 1, 1, 1)
    ie.Init("save.bin", "")
    ie.Run(image, result)
    assert ie.GetInfo("outnames") == "c"
    assert (result < 0).any()
    assert (np.maximum(result, 0) == expected(model, image)).all()
    ie.SetFlag("nlayers", "1")
    ie.Compile("6x4x3", "net.onnx", "save.bin")
    ie.Init("save.bin", "")
    assert ie.GetInfo("outnames") == "c"
    ie.SetFlag("nlayers", "-1")
    ie.SetFlag("lremove", "1")
    ie.Compile("6x4x3", "net.onnx", "save.bin")
    ie.Init("save.bin", "")
    assert ie.GetInfo("outnames") == "c"
    ie.SetFlag("lremove", "2")
    with pytest.raises(AcceleratorError, match="no layer is left; expected fewer than 2 removed, found 2"):
        ie.Compile("6x4x3", "net.onnx", "save.bin")


@pytest.mark.parametrize(
    ("flags", "arguments", "images", "factor"),
    [
        ({}, (1, 1), 1, 1),
        ({}, (2, 1), 2, 1),
        ({}, (1, 3), 3, 1),
        ({}, (2, 4), 8, 1),
        ({"nobatch": "1"}, (1, 4), 1, 1),
        ({"clustersbatchmode": 1}, (2, 4), 2, 1),
        ({"clusterbatchmode": 1}, (2, 4), 2, 1),
        ({"imgs_per_cluster": "3"}, (1, 1), 3, 3),
        ({"imgs_per_cluster": 3}, (2, 2), 12, 3),
        ({"nfpgas": "2", "nclusters": 2}, (1, 1), 4, 1),
        ({"options": "C"}, (1, 2), 1, 1),
        ({"imgs_per_cluster": 4, "mvbatch": 1}, (1, 1), 4, 4),
    ],
)
def test_batches(
    ie: FWDNXT,
    flags: dict[str, object],
    arguments: tuple[int, int],
    images: int,
    factor: int,
    rng: np.random.Generator,
) -> None:
    model = networks.convolution(Path("net.onnx"))
    for name, value in flags.items():
        ie.SetFlag(name, value)
    count = ie.Compile("6x4x3", "net.onnx", "save.bin", *arguments)
    # The count has the images of a cluster in it, and neither cards nor clusters.
    assert count == 48 * factor
    fresh = FWDNXT()
    for each in (ie, fresh):
        assert each.Init("save.bin", "") == count
        assert each.GetInfo("numbatch") == images
    batch = rng.standard_normal((images, 3, 4, 6)).astype(np.float32)
    result = np.zeros(48 * images, np.float32)
    for each in (ie, fresh):
        result[...] = 0
        each.Run(batch, result)
        assert (result == expected(model, *batch)).all()


def test_a_short_batch_fills_a_part_of_the_result(ie: FWDNXT, rng: np.random.Generator) -> None:
    model = networks.convolution(Path("net.onnx"))
    ie.Compile("6x4x3", "net.onnx", "save.bin", 1, 4)
    ie.Init("save.bin", "")
    batch = rng.standard_normal((3, 3, 4, 6)).astype(np.float32)
    result = np.full(48 * 4, 9, np.float32)
    ie.Run(batch, result)
    assert (result[: 48 * 3] == expected(model, *batch)).all()
    assert (result[48 * 3 :] == 9).all()


def test_a_batch_that_the_network_has_itself_is_that_of_the_flag(ie: FWDNXT, rng: np.random.Generator) -> None:
    model = networks.convolution(Path("net.onnx"), batch=4)
    ie.SetFlag("imgs_per_cluster", 4)
    count = ie.Compile("6x4x3x4", "net.onnx", "save.bin")
    assert count == 48 * 4
    ie.Init("save.bin", "")
    batch = rng.standard_normal((4, 3, 4, 6)).astype(np.float32)
    result = np.zeros(count, np.float32)
    ie.Run(batch, result)
    assert (result == expected(model, batch)).all()


def test_a_batch_in_the_size(ie: FWDNXT, rng: np.random.Generator) -> None:
    model = networks.classifier(Path("net.onnx"))
    assert ie.Compile("8x4x3x2", "net.onnx", "save.bin") == 10
    ie.Init("save.bin", "")
    assert ie.GetInfo("numbatch") == 2
    batch = rng.standard_normal((2, 3, 4, 8)).astype(np.float32)
    result = np.zeros(10, np.float32)
    ie.Run(batch, result)
    assert (result == expected(model, *batch)).all()


def test_two_networks_take_tuples(ie: FWDNXT, rng: np.random.Generator) -> None:
    first, second = networks.convolution(Path("a.onnx")), networks.classifier(Path("b.onnx"))
    ie.Compile("6x4x3", "a.onnx", "save1.bin")
    ie.Compile("8x4x3", "b.onnx", "save2.bin")
    ie.Loadmulti(("save1.bin", "save2.bin"))
    assert ie.Init("", "") == (48, 5)
    a, b = (rng.standard_normal((3, 4, width)).astype(np.float32) for width in (6, 8))
    results = (np.zeros(48, np.float32), np.zeros(5, np.float32))
    ie.Run((a, b), results)
    assert (results[0] == expected(first, a)).all()
    assert (results[1] == expected(second, b)).all()
    for each in results:
        each[...] = 0
    assert ie.PutInput((a, b), "both")
    assert ie.GetResult(results) == "both"
    assert (results[1] == expected(second, b)).all()
    assert ie.GetInfo("outnames") == "y;y"


@pytest.mark.parametrize(
    ("code", "values"),
    [
        (TensorProto.INT64, [0.4, -3, 1e6, 2.5]),
        (TensorProto.INT32, [1, 2, 3, 4]),
        (TensorProto.FLOAT16, [0.5, -1.25, 100, 0]),
        (TensorProto.DOUBLE, [0.5, -1.25, 1e9, 0]),
    ],
)
def test_floats_come_in_and_go_out_whatever_the_network_takes(ie: FWDNXT, code: int, values: list[float]) -> None:
    networks.doubling(Path("net.onnx"), code)
    ie.Compile("1x1x4", "net.onnx", "save.bin")
    ie.Init("save.bin", "")
    result = np.zeros(4, np.float32)
    ie.Run(np.array(values, np.float32), result)
    rounded = [float(np.rint(v)) for v in values] if code in (TensorProto.INT64, TensorProto.INT32) else values
    assert result.tolist() == [2 * v for v in rounded]


@pytest.mark.usefixtures("in_integers")
def test_run_is_run_sw_in_every_byte_and_run_th_is_floating_point(ie: FWDNXT, integer_network: Network) -> None:
    image = load_digits().prepare(load_digits().images[:1])
    save("net.bin", integer_network.artifact, Batch())
    ie.Init("net.bin", "s256")
    results = {method: np.zeros(10, np.float32) for method in ("Run", "Run_sw", "Run_th")}
    for method, result in results.items():
        getattr(ie, method)(image, result)
    assert results["Run"].tobytes() == results["Run_sw"].tobytes()
    for engine, method in (("device", "Run"), ("float", "Run_th")):
        with tilewright.load("net.bin", engine=engine) as session:
            assert results[method].tobytes() == session.run({"image": image})["probabilities"].tobytes()
    assert results["Run"].tobytes() != results["Run_th"].tobytes()


@pytest.mark.parametrize("asked", ["flag", "environment"])
def test_the_simulator_gives_the_same_numbers(
    ie: FWDNXT, asked: str, integer_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = load_digits().prepare(load_digits().images[:1])
    save("net.bin", integer_network.artifact, Batch())
    if asked == "flag":
        ie.SetFlag("fpgaid", "sim")
    else:
        monkeypatch.setenv("TILEWRIGHT_ENGINE", "device")
    ie.Init("net.bin", "")
    first, second = np.zeros(10, np.float32), np.zeros(10, np.float32)
    ie.Run(image, first)
    ie.Run_sw(image, second)
    assert first.tobytes() == second.tobytes()
    assert [network.engine for network in ie._ready("test").networks] == ["device"]


@pytest.mark.usefixtures("in_integers")
def test_runsw_makes_run_another(ie: FWDNXT, integer_network: Network) -> None:
    image = load_digits().prepare(load_digits().images[:1])
    save("net.bin", integer_network.artifact, Batch())
    ie.Init("net.bin", "")
    run, floating = np.zeros(10, np.float32), np.zeros(10, np.float32)
    ie.Run_th(image, floating)
    for value, same in ((0, False), (1, False), (2, True)):
        ie.SetFlag("runsw", value)
        ie.Run(image, run)
        assert (run.tobytes() == floating.tobytes()) is same


@pytest.mark.parametrize("engine", ["device", "software"])
def test_without_samples_pictures_are_computed_in_16_bits_and_all_else_in_numbers(
    ie: FWDNXT, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    model = networks.convolution(Path(f"{engine}.onnx"))
    monkeypatch.setenv("TILEWRIGHT_ENGINE", engine)
    with pytest.warns(CalibrationWarning, match="computed in integers of 16 bits, with ranges that hold for all"):
        ie.Compile("6x4x3", str(model), "save.bin")
    ie.Init("save.bin", "")
    picture, other = rng.uniform(-2, 2, (2, 3, 4, 6)).astype(np.float32)
    other[0, 0, 0] = 3
    found, beyond, waiting = np.zeros((3, 48), np.float32)
    ie.Run(picture, found)
    with tilewright.load("save.bin", engine="software") as session:
        assert found.tobytes() == session.run({"x": picture[None]})["y"].tobytes()
    text = (
        r"^input 'x' has numbers from .* to 3, but pictures become -2\.118 to 2\.64: what is beyond is computed in "
        "floating point. TILEWRIGHT_CALIBRATION gives other ranges, TILEWRIGHT_PREPROCESS what becomes of pixels$"
    )
    with pytest.warns(CalibrationWarning, match=text) as caught:
        ie.Run(other, beyond)
    assert [each.category for each in caught] == [CalibrationWarning], "none says that numbers are cut off"
    assert beyond.tobytes() == expected(model, other).tobytes() != found.tobytes()
    ie.Run_sw(other, waiting)
    assert waiting.tobytes() == beyond.tobytes()
    ie.PutInput(other, None)
    ie.GetResult(waiting)
    assert waiting.tobytes() == beyond.tobytes()


@pytest.mark.parametrize("engine", ["device", "software"])
def test_what_is_beyond_pictures_is_cut_off_where_there_is_no_floating_point(
    ie: FWDNXT, rng: np.random.Generator, engine: str
) -> None:
    model = networks.convolution(Path("net.onnx"))
    options = {"calibration": "bounds", "preprocessing": "imagenet", "wide": ["all"], "engines": engine}
    artifact = tilewright.compile(model, precision="int8", **options)
    save("net.bin", artifact, Batch())
    ie.Init("net.bin", "")
    image, found = rng.uniform(5, 9, (3, 4, 6)).astype(np.float32), np.zeros(48, np.float32)
    with pytest.warns(SaturationWarning, match="are cut off"):
        ie.Run(image, found)
    with tilewright.load(artifact, engine=engine) as session:
        assert found.tobytes() == session.run({"x": image[None]})["y"].tobytes()


def test_samples_from_the_environment(
    ie: FWDNXT, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    networks.convolution(Path("net.onnx"))
    np.savez(tmp_path / "samples.npz", x=rng.standard_normal((4, 3, 4, 6)).astype(np.float32))
    monkeypatch.setenv("TILEWRIGHT_CALIBRATION", str(tmp_path / "samples.npz"))
    monkeypatch.delenv("TILEWRIGHT_ENGINE")
    ie.Compile("6x4x3", "net.onnx", "save.bin")
    ie.Init("save.bin", "")
    assert "device" in tilewright.load("save.bin").artifact.manifest.engines
    image = rng.standard_normal((3, 4, 6)).astype(np.float32)
    device, floating = np.zeros(48, np.float32), np.zeros(48, np.float32)
    ie.Run(image, device)
    ie.Run_th(image, floating)
    assert 0 < np.abs(device - floating).max() < 0.1 * np.abs(floating).max()


def test_a_picture_gives_size_and_ranges(ie: FWDNXT, rng: np.random.Generator) -> None:
    image = pytest.importorskip("PIL.Image")
    networks.convolution(Path("net.onnx"), "h", "w")
    image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).save("picture.png")
    assert ie.Compile("picture.png", "net.onnx", "save.bin") == 2 * 5 * 7
    ie.Init("save.bin", "")
    assert ie.GetInfo("inshapes") == "1x3x5x7"
    assert "device" in tilewright.load("save.bin").artifact.manifest.engines


def test_a_model_with_data_beside_it(ie: FWDNXT, rng: np.random.Generator) -> None:
    import onnx

    Path("models").mkdir()
    plain = networks.convolution(Path("plain.onnx"))
    model = onnx.load(plain)
    onnx.save(model, "models/net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    assert Path("models/net.onnx.data").exists()
    image = rng.standard_normal((3, 4, 6)).astype(np.float32)
    result = np.zeros(48, np.float32)
    ie.Compile("6x4x3", "models/net.onnx", "save.bin")
    ie.Init("save.bin", "")
    ie.Run(image, result)
    assert (result == expected(plain, image)).all()
    # And where the model is changed before it is compiled.
    assert ie.Compile("7x5x3", "models/net.onnx", "save.bin") == 2 * 5 * 7


def test_models_of_new_operator_sets(ie: FWDNXT) -> None:
    import onnx

    for opset in (18, 20, 22):
        model = onnx.load(networks.convolution(Path("plain.onnx")))
        model.opset_import[0].version = opset
        onnx.save(model, "net.onnx")
        assert ie.Compile("6x4x3", "net.onnx", "save.bin") == math.prod((2, 4, 6))


def test_the_machine_of_the_flag_compiles_and_is_the_card(ie: FWDNXT, calibrated_digits: None) -> None:
    ie.SetFlag("bitfile", "s256")
    assert ie.GetInfo("hwversion") == "S256"
    assert ie.Compile("8x8x1", str(MODEL), "net.bin") == 10
    assert ie.Init("net.bin", "") == 10
    assert ie.Init("net.bin", "s256") == 10
    with pytest.raises(
        AcceleratorError, match=r"the program was compiled for machine 'S256', this is 'M4096'; .* clusters: 1, 4"
    ):
        ie.Init("net.bin", "m4096")
    assert ie.GetInfo("hwversion") == "S256"
    fresh = FWDNXT()
    assert fresh.Init("net.bin", "") == 10
    assert fresh.GetInfo("hwversion") == "S256"
    assert fresh.GetInfo("maxcluster") == 1
    with pytest.raises(AcceleratorError, match="neither a sample nor a readable file"):
        fresh.Init("net.bin", "absent")
    assert fresh.GetInfo("hwversion") == "S256"
    # Nothing of this one runs on any card.
    networks.doubling(Path("double.onnx"))
    fresh.Compile("1x1x4", "double.onnx", "double.bin")
    fresh.Init("double.bin", "")
    assert fresh.GetInfo("hwversion") == "M4096"


def test_objects_share_cards_by_their_handles(ie: FWDNXT) -> None:
    networks.convolution(Path("net.onnx"))
    ie.Compile("6x4x3", "net.onnx", "save.bin")
    assert ie.get_handle() is None
    ie.Init("save.bin", "")
    second, third = FWDNXT(), FWDNXT()
    second.Init("save.bin", "", ie.get_handle())
    third.Init("save.bin", "")
    shared, own, others = ie.get_handle(), second.get_handle(), third.get_handle()
    assert shared is not None and own is not None and others is not None
    assert own.cards == shared.cards != others.cards
    for each in (second, third):
        each.Free()
        assert each.get_handle() is None


def test_max_instr(ie: FWDNXT, calibrated_digits: None) -> None:
    ie.SetFlag({"max_instr": "100000", "bitfile": "s256"})
    ie.Compile("8x8x1", str(MODEL), "save.bin")
    ie.SetFlag("max_instr", "2")
    with pytest.raises(AcceleratorError, match="longer than max_instr allows; expected at most 2 instructions, found"):
        ie.Compile("8x8x1", str(MODEL), "save.bin")
