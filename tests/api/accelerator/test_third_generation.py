"""``MDLA``: Compile alone makes ready, results come back with the batch first; and the calls of 2020."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerator_networks as networks
import numpy as np
import pytest
from accelerator_networks import array, arrays, pair
from PIL import Image

import tilewright
from tilewright.runtime.api.accelerator import FWDNXT, MDLA
from tilewright.runtime.api.accelerator.errors import AcceleratorError, InitError

pytestmark = pytest.mark.filterwarnings("ignore::tilewright.errors.CalibrationWarning")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What is computed in numbers can be told from what is not by each bit.
    monkeypatch.setenv("TILEWRIGHT_ENGINE", "float")


@pytest.fixture
def ie() -> Iterator[MDLA]:
    accelerator = MDLA()
    yield accelerator
    accelerator.Free()


def expected(model: Path, image: np.ndarray) -> np.ndarray:
    with tilewright.load(tilewright.compile(model)) as session:
        return session.run({"x": image.reshape(session.inputs[0].shape)})["y"]


def test_compile_alone_makes_ready(ie: MDLA, rng: np.random.Generator) -> None:
    model = networks.classifier(Path("net.onnx"))
    assert ie.Compile("net.onnx") == ["y"]
    image = rng.standard_normal((3, 4, 8)).astype(np.float32)
    result = array(ie.Run(image))
    assert (result.shape, result.dtype) == ((1, 5), np.float32)
    assert result.tobytes() == expected(model, image).tobytes()


@pytest.mark.parametrize("flags", [{}, {"nclusters": 3}, {"imgs_per_cluster": "3"}])
def test_the_batch_comes_first(ie: MDLA, flags: dict[str, object], rng: np.random.Generator) -> None:
    model = networks.classifier(Path("net.onnx"))
    ie.SetFlag(flags)
    ie.Compile("net.onnx")
    batch = rng.standard_normal((3, 3, 4, 8)).astype(np.float32)
    separate = np.concatenate([expected(model, each) for each in batch])
    for images in (batch, list(batch), tuple(batch), [[each] for each in batch]):
        result = array(ie.Run(images))
        assert (result.shape, result.tobytes()) == ((3, 5), separate.tobytes())
    assert array(ie.Run(batch[:2])).tobytes() == separate[:2].tobytes()


def test_results_are_new_arrays(ie: MDLA) -> None:
    networks.doubling(Path("net.onnx"))
    ie.Compile("net.onnx")
    first = array(ie.Run(np.ones(4, np.float32)))
    second = array(ie.Run(np.zeros(4, np.float32)))
    assert first.tolist() == [[2, 2, 2, 2]]
    assert second.tolist() == [[0, 0, 0, 0]]
    first[...] = 5
    assert array(ie.Run(np.ones(4, np.float32))).tolist() == [[2, 2, 2, 2]]


def test_several_outputs_are_a_list(ie: MDLA) -> None:
    networks.two_outputs(Path("net.onnx"))
    assert ie.Compile("net.onnx") == ["y", "s"]
    results = arrays(ie.Run(np.arange(8, dtype=np.float32)))
    assert [each.tolist() for each in results] == [[[0, 2, 4, 6], [8, 10, 12, 14]], [6, 22]]


def test_several_inputs_and_batches_of_them(ie: MDLA) -> None:
    networks.addition(Path("net.onnx"))
    ie.Compile("net.onnx")
    a, b = np.arange(8, dtype=np.float32), np.full(8, 10, np.float32)
    for images in ([a, b], (a, b), [[a, b]]):
        result = array(ie.Run(images))
        assert result.shape == (1, 8, 1, 1)
        assert result.reshape(-1).tolist() == (a + b).tolist()
    for images in ([[a, b], [b, b]], [np.stack([a, b]), np.stack([b, b])]):
        result = array(ie.Run(images))
        assert result.reshape(2, 8).tolist() == [(a + b).tolist(), (b + b).tolist()]


def test_arrays_of_any_type_are_taken(ie: MDLA) -> None:
    networks.doubling(Path("net.onnx"))
    ie.Compile("net.onnx")
    for dtype in ("f8", "f2", "i8", "u1", "?"):
        result = array(ie.Run(np.ones((2, 2), dtype)[:, ::-1]))
        assert result.tolist() == [[2, 2, 2, 2]]


def test_shapes_in_place_of_the_models(ie: MDLA, rng: np.random.Generator) -> None:
    networks.convolution(Path("net.onnx"))
    ie.Compile("net.onnx", "1x3x5x7")
    result = array(ie.Run(rng.standard_normal((3, 5, 7))))
    assert result.shape == (1, 2, 5, 7)
    ie.Compile("net.onnx", inshapes="2x3x5x7")
    assert ie.GetInfo("inshapes") == "2x3x5x7"
    relu = networks.graph_model([networks.helper.make_node("Relu", ["x"], ["y"])], [("x", networks.FLOAT, None)])
    networks.write_model(Path("rankless.onnx"), relu)
    ie.Compile("rankless.onnx", "2x5")
    assert ie.GetInfo("outshapes") == "2x5"
    networks.convolution(Path("open.onnx"), batch="N")
    ie.Compile("open.onnx")
    assert ie.GetInfo("inshapes") == "1x3x4x6"


@pytest.mark.parametrize("each", [2, 4])
def test_a_batch_in_a_shape_that_the_network_does_not_have(ie: MDLA, rng: np.random.Generator, each: int) -> None:
    """Public batch programs give the whole batch to networks that were exported for one image."""
    nodes = [networks.helper.make_node("Reshape", ["x", "shape"], ["y"])]
    shape = {"shape": np.array([1, 72], np.int64)}
    one = networks.graph_model(nodes, [("x", networks.FLOAT, [1, 3, 4, 6])], initializers=shape)
    networks.write_model(Path("net.onnx"), one)
    ie.SetFlag("imgs_per_cluster", each)
    assert ie.Compile("net.onnx", "4x3x4x6") == ["y"]
    images = rng.standard_normal((4, 3, 4, 6)).astype(np.float32)
    assert array(ie.Run(images)).tobytes() == images.tobytes()
    assert (ie.GetInfo("inshapes"), ie.GetInfo("numbatch")) == ("1x3x4x6", each)
    with pytest.raises(InitError, match="the network does not allow inputs of this size"):
        ie.Compile("net.onnx", "4x3x4x5")


def test_into_a_file(ie: MDLA, rng: np.random.Generator) -> None:
    model = networks.classifier(Path("net.onnx"))
    ie.SetFlag("nclusters", 2)
    assert ie.Compile("net.onnx", outfile="save.bin") == ["y"]
    with pytest.raises(Exception, match="no network is loaded"):
        ie.Run(np.zeros(96))
    other = MDLA()
    assert other.Init("save.bin") is None
    assert other.GetInfo("numbatch") == 2
    image = rng.standard_normal(96)
    result = array(other.Run(image))
    assert result.tobytes() == expected(model, image.astype(np.float32)).tobytes()


def test_demos_give_the_file_as_second_argument(ie: MDLA) -> None:
    networks.classifier(Path("net.onnx"))
    assert ie.Compile("net.onnx", "save.bin") == ["y"]
    ie.Init("save.bin")
    assert ie.GetInfo("outshapes") == "1x5"


def test_samples_give_ranges(ie: MDLA, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILEWRIGHT_ENGINE")
    networks.classifier(Path("net.onnx"))
    samples = [rng.standard_normal((3, 4, 8)).astype(np.float32) for _ in range(8)]
    ie.Compile("net.onnx", samples=samples)
    device, software, floating = (array(run(samples[0])) for run in (ie.Run, ie.Run_sw, ie.Run_th))
    assert device.tobytes() == software.tobytes() != floating.tobytes()
    assert np.abs(device - floating).max() < 0.05
    quantized = tilewright.compile("net.onnx", calibration=np.stack(samples)[:, None])
    with tilewright.load(quantized, engine="device") as session:
        assert device.tobytes() == session.run({"x": samples[0][None]})["y"].tobytes()


def test_samples_in_one_array(ie: MDLA, rng: np.random.Generator) -> None:
    networks.classifier(Path("net.onnx"))
    samples = rng.standard_normal((8, 3, 4, 8)).astype(np.float32)
    ie.Compile("net.onnx", samples=[*samples])
    expected = array(ie.Run(samples))
    ie.Compile("net.onnx", samples=samples)
    assert array(ie.Run(samples)).tobytes() == expected.tobytes()


def test_samples_of_several_inputs(ie: MDLA, rng: np.random.Generator) -> None:
    networks.addition(Path("net.onnx"))
    pairs = [[rng.standard_normal((8, 1, 1)), rng.standard_normal(8)] for _ in range(3)]
    ie.Compile("net.onnx", samples=pairs)
    ie.Run(pairs[0])


def test_flags_of_a_dictionary_and_of_numbers(ie: MDLA) -> None:
    ie.SetFlag({"nclusters": 2, "firstcluster": "2", "blockingmode": 0})
    assert [ie.GetInfo(name) for name in ("nclusters", "firstcluster", "blockingmode")] == [2, 2, False]
    assert ie.GetInfo("numcluster") == 2


def test_two_objects_on_halves_of_one_card(rng: np.random.Generator) -> None:
    models = networks.classifier(Path("a.onnx")), networks.convolution(Path("b.onnx"))
    first, second = MDLA(), MDLA()
    first.SetFlag({"nclusters": 2, "clustersbatchmode": 1})
    second.SetFlag({"nclusters": 2, "firstcluster": 2, "clustersbatchmode": 1})
    first.Compile("a.onnx")
    second.Compile("b.onnx", MDLA=first)
    assert first.handle is not None and second.handle is not None
    assert first.handle.cards == second.handle.cards
    assert (first.handle.clusters, second.handle.clusters) == (range(2), range(2, 4))
    images = [rng.standard_normal((3, 4, width)).astype(np.float32) for width in (8, 6)]
    for each, image in zip((first, second), images, strict=True):
        assert each.PutInput(image, None)
    for each, model, image in zip((first, second), models, images, strict=True):
        result, userobj = pair(each.GetResult())
        assert userobj is None
        assert array(result).tobytes() == expected(model, image).tobytes()
    third = MDLA()
    third.SetFlag("nclusters", 3)
    with pytest.raises(InitError, match="the group of clusters does not go with another on its card"):
        third.Compile("a.onnx", MDLA=first)


def test_each_object_takes_a_card_of_its_own() -> None:
    networks.doubling(Path("net.onnx"))
    objects = [MDLA() for _ in range(3)]
    for each in objects:
        each.Compile("net.onnx")
    cards = [each.handle.cards for each in objects if each.handle is not None]
    assert len(set(cards)) == 3
    before = cards[1]
    objects[1].Compile("net.onnx")
    assert objects[1].handle is not None
    assert objects[1].handle.cards == before


def test_models_side_by_side(ie: MDLA) -> None:
    networks.doubling(Path("a.onnx"))
    networks.two_outputs(Path("b.onnx"))
    assert ie.Compile(["a.onnx", "b.onnx"]) == ["y", "y", "s"]
    results = arrays(ie.Run([np.ones(4), np.arange(4)]))
    assert [each.tolist() for each in results] == [[[2, 2, 2, 2]], [[0, 2, 4, 6]], [6]]
    with pytest.raises(InitError, match="models side by side; expected inshapes, samples and outfile with one model"):
        ie.Compile(["a.onnx", "b.onnx"], outfile="save.bin")


def test_several_files(ie: MDLA) -> None:
    networks.doubling(Path("a.onnx"))
    ie.Compile("a.onnx", outfile="a.bin")
    ie.Loadmulti(["a.bin", "a.bin"])
    assert ie.Init("") is None
    results = arrays(ie.Run((np.ones(4), np.zeros(4))))
    assert [each.tolist() for each in results] == [[[2, 2, 2, 2]], [[0, 0, 0, 0]]]


def test_calls_of_2020(ie: MDLA, rng: np.random.Generator) -> None:
    model = networks.convolution(Path("net.onnx"))
    count = ie.Compile("6x4x3", "net.onnx", "save.bin", 1, 1)
    assert count == 48
    assert ie.Init("./save.bin", "") == 48
    # No picture, which would be computed in integers.
    image = rng.standard_normal((1, 3, 4, 6)).astype(np.float32)
    image[0, 0, 0, 0] = 3
    result = np.zeros((1, 48), np.float32)
    for method in (ie.Run, ie.Run_sw, ie.Run_th):
        result[...] = 0
        assert method(image, result) is None
        assert result.tobytes() == expected(model, image).tobytes()
    result[...] = 0
    ie.PutInput(image, "name")
    assert ie.GetResult(result) == "name"
    assert result.tobytes() == expected(model, image).tobytes()
    ie.Compile("6x4x3", "net.onnx", "save.bin", 2, 2, 1)
    ie.Init("save.bin", "", None)
    assert (ie.GetInfo("outnames"), ie.GetInfo("numbatch")) == ("c", 4)


@pytest.mark.parametrize("generation", [FWDNXT, MDLA])
@pytest.mark.parametrize(("cards", "clusters"), [(2.0, 4 / 2), (np.float32(2), np.int64(2))])
def test_cards_and_clusters_that_were_divided(generation: type[FWDNXT | MDLA], cards: object, clusters: object) -> None:
    networks.doubling(Path("net.onnx"))
    accelerator: Any = generation()
    accelerator.SetFlag("imgs_per_cluster", str(16 / 4 / 2))
    assert accelerator.Compile("1x1x4", "net.onnx", "save.bin", cards, clusters) == 8
    accelerator.Init("save.bin", "")
    assert accelerator.GetInfo("numbatch") == 8
    with pytest.raises(AcceleratorError, match=r"numcard is out of range; .* found 1\.5"):
        accelerator.Compile("1x1x4", "net.onnx", "save.bin", 1.5)


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((), {"image": "6x4x3", "modelpath": "net.onnx", "outfile": "save.bin", "numcard": 2, "numclus": 2}),
        (("6x4x3",), {"modelpath": "net.onnx", "outfile": "save.bin", "numcard": 2, "numclus": 2}),
        (("6x4x3", "net.onnx"), {"outfile": "save.bin", "numcard": 2, "numclus": 2, "nlayers": -1}),
        (("6x4x3", "net.onnx", "save.bin"), {"numcard": 2, "numclus": 2}),
        (("picture.png", "net.onnx", "save.bin", 2, 2), {}),
        (("picture.png", "net.onnx"), {"outfile": "save.bin", "numcard": 2, "numclus": 2}),
        ((), {"image": "picture.png", "modeldir": "net.onnx", "outfile": "save.bin", "numcard": 2, "numclus": 2}),
    ],
)
def test_compile_takes_the_keywords_of_2020(
    ie: MDLA, arguments: tuple[object, ...], keywords: dict[str, object], rng: np.random.Generator
) -> None:
    networks.convolution(Path("net.onnx"))
    Image.fromarray(rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)).save("picture.png")
    assert ie.Compile(*arguments, **keywords) == 48
    assert ie.Init(infile="save.bin", bitfile="") == 48
    assert (ie.GetInfo("numfpga"), ie.GetInfo("numcluster")) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("net.onnx", "save.bin", "2x3x4x6"), {}),
        (("net.onnx", "save.bin"), {"inshapes": "2x3x4x6"}),
        ((), {"modelpath": "net.onnx", "outfile": "save.bin", "inshapes": "2x3x4x6"}),
    ],
)
def test_compile_takes_the_arguments_of_early_2021(
    ie: MDLA, arguments: tuple[object, ...], keywords: dict[str, object], rng: np.random.Generator
) -> None:
    networks.convolution(Path("net.onnx"), batch="n")
    model = networks.convolution(Path("two.onnx"), batch=2)
    assert ie.Compile(*arguments, **keywords) == ["y"]
    ie.Init("save.bin")
    images = rng.standard_normal((2, 3, 4, 6)).astype(np.float32)
    assert array(ie.Run(images)).tobytes() == expected(model, images).tobytes()


@pytest.mark.parametrize("keywords", [{"numclus": 0}, {"nosuch": 1}])
def test_wrong_arguments_of_2020(ie: MDLA, keywords: dict[str, object]) -> None:
    networks.convolution(Path("net.onnx"))
    with pytest.raises((InitError, TypeError), match=r"numclus is out of range|unexpected keyword argument 'nosuch'"):
        ie.Compile("6x4x3", "net.onnx", "save.bin", **keywords)


def test_results_go_into_arrays_within_an_array(ie: MDLA) -> None:
    networks.two_outputs(Path("net.onnx"))
    ie.Compile("net.onnx")
    results = np.empty(2, object)
    results[:] = [np.zeros(4, np.float32), np.zeros(1, np.float32)]
    images = np.empty(1, object)
    images[0] = np.arange(4, dtype=np.float32)
    assert ie.Run(images, results) is None
    assert [each.tolist() for each in results] == [[0, 2, 4, 6], [6]]


def test_quantize_and_go_of_2020(ie: MDLA, rng: np.random.Generator) -> None:
    model = networks.convolution(Path("net.onnx"))
    images = list(rng.standard_normal((4, 3, 4, 6)).astype(np.float32))
    assert ie.Quantize("6x4x3", "net.onnx", "save.bin", images) == 48
    assert "device" in tilewright.load("save.bin").artifact.manifest.engines
    result = np.zeros(48, np.float32)
    for _ in range(2):
        ie.GO("6x4x3", "net.onnx", "", images[0], result)
        assert result.tobytes() == expected(model, images[0]).tobytes()


def test_the_generations_read_each_others_files(ie: MDLA) -> None:
    networks.doubling(Path("net.onnx"))
    second = FWDNXT()
    second.Compile("1x1x4", "net.onnx", "second.bin")
    ie.Init("second.bin")
    result = array(ie.Run(np.ones(4)))
    assert result.tolist() == [[2, 2, 2, 2]]
    ie.Compile("net.onnx", outfile="third.bin")
    assert second.Init("third.bin", "") == 4
