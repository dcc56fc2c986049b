"""Blobs with descriptions, and what is done to pictures first, as releases of 2020 and 2021 have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tilewright
from tilewright.runtime.api.inference_engine import (
    Blob,
    ColorFormat,
    ExecutableNetwork,
    IECore,
    IENetwork,
    MeanVariant,
    PreProcessInfo,
    ResizeAlgorithm,
    TensorDesc,
)
from tilewright.runtime.api.inference_engine.blobs import in_order_of_network

RNG = np.random.default_rng(12)


def prob(network: ExecutableNetwork) -> bytes:
    request = network.requests[0]
    request.infer()
    return request.output_blobs["prob"].buffer.tobytes()


def expected(session: tilewright.Session, picture: np.ndarray) -> bytes:
    return session.run({"data": picture.astype(np.float32)})["prob"].tobytes()


def info_of(network: IENetwork) -> PreProcessInfo:
    return network.input_info["data"].preprocess_info


def test_a_description_holds_what_it_is_given() -> None:
    desc = TensorDesc("fp32", (1, 3, 8, 9), "NCHW")
    assert (desc.precision, desc.dims, desc.layout) == ("FP32", [1, 3, 8, 9], "NCHW")
    assert desc == TensorDesc("FP32", np.array([1, 3, 8, 9]), "NCHW")  # pyright: ignore[reportArgumentType]
    desc.precision, desc.layout, desc.dims = "U8", "NHWC", [2, 3, 8, 9]
    assert repr(desc) == "TensorDesc(precision='U8', dims=[2, 3, 8, 9], layout='NHWC')"
    assert desc != TensorDesc("U8", [2, 3, 8, 9], "NCHW")
    assert desc != "U8"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("FP31", [1], "C"), ValueError, "^Unsupported precision FP31! List of supported precisions: "),
        (("FP32", [1], "D"), AttributeError, r"^Unsupported layout D! List of supported layouts: \['ANY', 'NCHW', "),
        (("FP32", [1], None), ValueError, "^Unsupported layout None! "),
        (("FP32", [1, 3], "NCHW"), ValueError, r"^layout NCHW is one of 4 dimensions; found \[1, 3\]$"),
        (("FP32", [1.5], "C"), TypeError, r"^dimensions are whole numbers; expected such as .*, found \[1.5\]$"),
        (("FP32", "12", "NC"), TypeError, "^dimensions are whole numbers"),
        (("FP32", np.array(3), "C"), TypeError, "^dimensions are whole numbers"),
        (("FP32", [-1], "C"), ValueError, "^the dimensions are out of range"),
        (("FP32", [2**20] * 3, "CHW"), ValueError, "^the dimensions are out of range"),
        (("FP32", [1] * 40, "ANY"), ValueError, "^the dimensions are out of range"),
    ],
)
def test_wrong_descriptions(arguments: tuple[str, list[int], str], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        TensorDesc(*arguments)


def test_a_blob_is_the_memory_of_its_array() -> None:
    desc, array = TensorDesc("FP32", [1, 2, 3, 4], "NHWC"), np.zeros((3, 8), np.float32)
    blob = Blob(desc, array)
    blob.buffer[1] = 5
    assert array[1].sum() == 40
    assert blob.buffer.shape == (3, 8)
    desc.dims = [2, 2, 3, 4]
    blob.tensor_desc.precision = "U8"
    assert blob.tensor_desc == TensorDesc("FP32", [1, 2, 3, 4], "NHWC")
    assert Blob(desc).buffer.shape == (2, 3, 4, 2)
    across = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert Blob(TensorDesc("FP32", [2, 3], "NC"), across).buffer.tolist() == across.tolist()
    scalar = Blob(TensorDesc("I64", [], "SCALAR"), np.array(7))
    assert scalar.buffer.tolist() == [7]
    assert Blob(TensorDesc("BOOL", [2], "C"), np.array([0, 1], np.uint8)).buffer.tolist() == [0, 1]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CN", "NC", "NDHWC"])
def test_a_blob_in_the_order_of_its_dimensions(layout: str) -> None:
    dims = [3] * len(layout)
    array = RNG.permutation(3 ** len(layout)).reshape(dims).astype(np.float32)
    wanted = np.einsum(f"{layout}->{''.join(sorted(layout, key='NCDHW'.index))}", array)
    np.testing.assert_array_equal(in_order_of_network(Blob(TensorDesc("FP32", dims, layout), array)), wanted)


@pytest.mark.parametrize(
    ("desc", "array", "error", "text"),
    [
        (None, None, TypeError, "^a blob needs a description; expected a TensorDesc, found NoneType$"),
        (
            TensorDesc("FP32", [2], "C"),
            np.zeros(3, np.float32),
            AttributeError,
            "^Number of elements in provided numpy array 3 and required by TensorDesc 2 are not equal$",
        ),
        (
            TensorDesc("FP32", [2], "C"),
            np.zeros(2),
            ValueError,
            "^Data type float64 of provided numpy array doesn't match to TensorDesc precision FP32; expected float32$",
        ),
        (TensorDesc("FP32", [2], "C"), [1, 2], TypeError, "^a blob is made of an array; expected a numpy.ndarray"),
    ],
)
def test_wrong_blobs(desc: TensorDesc, array: np.ndarray, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Blob(desc, array)


def test_blobs_of_a_request(shared: ExecutableNetwork, in_floats: tilewright.Session, picture: np.ndarray) -> None:
    request = shared.requests[1]
    assert request.input_blobs["data"].tensor_desc == TensorDesc("FP32", [1, 3, 32, 32], "NCHW")
    assert shared.input_info["data"].tensor_desc == request.input_blobs["data"].tensor_desc
    request.input_blobs["data"].buffer[:] = picture
    np.testing.assert_array_equal(request.inputs["data"], picture)
    shared.infer({"data": 0 * picture})
    assert prob(shared) != expected(in_floats, picture)
    request.infer()
    found = request.output_blobs["prob"]
    assert found.tensor_desc == TensorDesc("FP32", [1, 12], "NC")
    assert found.buffer.tobytes() == expected(in_floats, picture)
    found.buffer[:] = 0
    assert request.output_blobs["prob"].buffer.sum() > 0.9
    assert request.preprocess_info["data"].mean_variant == MeanVariant.NONE


def test_a_blob_of_the_program_is_what_the_network_gets(
    network: IENetwork, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    network.input_info["data"].layout = "NHWC"
    loaded = IECore().load_network(network, "CPU")
    assert loaded.input_info["data"].tensor_desc == network.input_info["data"].tensor_desc
    request, mine = loaded.requests[0], np.zeros((1, 32, 32, 3), np.float32)
    for layout in ("NHWC", "NCHW"):
        blob = Blob(TensorDesc("FP32", [1, 3, 32, 32], layout), mine)
        request.set_blob(blob_name="data", blob=blob)
        blob.buffer[:] = (picture.transpose(0, 2, 3, 1) if layout == "NHWC" else picture).reshape(mine.shape)
        assert request.input_blobs["data"] is blob
        assert prob(loaded) == expected(in_floats, picture)
    request.infer({"data": 0})
    assert not mine.any()


def test_blobs_that_do_not_fit(shared: ExecutableNetwork) -> None:
    request, fitting = shared.requests[0], Blob(TensorDesc("FP32", [1, 3, 32, 32], "NCHW"))
    larger = Blob(TensorDesc("FP32", [1, 3, 64, 32], "NCHW"))
    grey = PreProcessInfo()
    grey.color_format = ColorFormat.RGBX
    calls: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: request.set_blob("image", fitting), RuntimeError, r"^\[NOT_FOUND\] Failed to find input with name: "),
        (lambda: request.set_blob(3, fitting), TypeError, "^an input is named by text"),  # pyright: ignore
        (lambda: request.set_blob("data", fitting.buffer), TypeError, "^set_blob takes a blob"),  # pyright: ignore
        (lambda: request.set_blob("data", fitting, 3), TypeError, "^this is no preprocess_info"),  # pyright: ignore
        (
            lambda: request.set_blob("data", larger),
            RuntimeError,
            r"^\[PARAMETER_MISMATCH\] the blob does not fit input 'data'; expected FP32 of \[1, 3, 32, 32\], found "
            r"FP32 of \[1, 3, 64, 32\]. ResizeAlgorithm.RESIZE_BILINEAR takes pictures of any size.$",
        ),
        (lambda: request.set_blob("data", fitting, grey), RuntimeError, r"expected FP32 of \[1, 4, 32, 32\]"),
        (lambda: request.set_blob("data", Blob(TensorDesc("U8", [1, 3, 32, 32], "NCHW"))), RuntimeError, "found U8"),
    ]
    for call, error, text in calls:
        with pytest.raises(error, match=text):
            call()


def bilinear(line: np.ndarray, target: int) -> np.ndarray:
    """What lies between pixels whose values are in their middles; outside is as the nearest edge."""
    source = len(line)
    places = [(index + 0.5) * source / target - 0.5 for index in range(target)]
    return np.array([np.interp(place, range(source), line) for place in places])


def covered(line: np.ndarray, target: int) -> np.ndarray:
    """The mean of what each pixel covers."""
    fine = np.repeat(line, target)
    return fine.reshape(target, len(line)).mean(1)


@pytest.mark.parametrize(
    ("algorithm", "size", "resized"),
    [
        (ResizeAlgorithm.RESIZE_BILINEAR, (20, 50), bilinear),
        (ResizeAlgorithm.RESIZE_AREA, (80, 47), covered),
        (ResizeAlgorithm.RESIZE_AREA, (20, 31), bilinear),
    ],
)
def test_pictures_of_another_size(
    algorithm: ResizeAlgorithm,
    size: tuple[int, int],
    resized: Callable[[np.ndarray, int], np.ndarray],
    network: IENetwork,
    in_floats: tilewright.Session,
) -> None:
    network.input_info["data"].precision = "U8"
    info_of(network).resize_algorithm = algorithm
    loaded = IECore().load_network(network, "CPU")
    pixels = RNG.integers(0, 256, (1, *size, 3)).astype(np.uint8)
    loaded.requests[0].set_blob("data", Blob(TensorDesc("U8", [1, 3, *size], "NHWC"), pixels))
    planes = pixels[0].transpose(2, 0, 1).astype(np.float64)
    for axis in (1, 2):
        planes = np.apply_along_axis(resized, axis, planes, 32)
    assert prob(loaded) == expected(in_floats, np.rint(planes)[None])


@pytest.mark.parametrize(
    ("colour", "order"), [("RGB", [2, 1, 0]), ("BGR", [0, 1, 2]), ("RGBX", [2, 1, 0]), ("BGRX", [0, 1, 2])]
)
def test_pictures_of_other_colours(
    colour: str, order: list[int], network: IENetwork, in_floats: tilewright.Session, tmp_path: Path
) -> None:
    info_of(network).color_format = ColorFormat[colour]
    loaded = IECore().load_network(network, "CPU")
    loaded.export(str(tmp_path / "network.blob"))
    imported = IECore().import_network(str(tmp_path / "network.blob"), "CPU")
    pixels = RNG.uniform(0, 255, (1, len(colour), 32, 32)).astype(np.float32)
    for each in (loaded, imported):
        each.infer({"data": pixels})
        assert prob(each) == expected(in_floats, pixels[:, order])
        assert each.requests[0].preprocess_info["data"].color_format == ColorFormat[colour]


@pytest.mark.parametrize("with_images", [False, True])
def test_means_and_scales_are_part_of_what_is_loaded(
    with_images: bool, file: Path, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    network = IENetwork(str(file))
    info = info_of(network)
    info.init(3)
    means = RNG.uniform(0, 99, (3, 32, 32) if with_images else (3, 1, 1)).astype(np.float32)
    if with_images:
        of_none = PreProcessInfo()
        of_none.set_mean_image(Blob(TensorDesc("FP32", [0, 32, 32], "CHW")))
        assert of_none.mean_variant == MeanVariant.MEAN_IMAGE
        info.set_mean_image(Blob(TensorDesc("FP32", [3, 32, 32], "CHW"), means))
        info.set_mean_image_for_channel(Blob(TensorDesc("FP32", [32, 32], "HW"), means[1]), 1)
        of_channel = info[1].mean_data
        assert of_channel is not None
        assert of_channel.buffer.tolist() == means[1].tolist()
    else:
        info.mean_variant = MeanVariant.MEAN_VALUE
        for channel, mean in enumerate(means.ravel().tolist()):
            info[channel].mean_value = mean
    for channel in range(info.get_number_of_channels()):
        info[channel].std_scale = 2.0 + channel
    scales = np.array([2, 3, 4], np.float32).reshape(3, 1, 1)
    found = np.frombuffer(prob_of(IECore().load_network(network, "CPU"), picture), np.float32)
    wanted = np.frombuffer(expected(in_floats, (picture - means) / scales), np.float32)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    info.mean_variant = MeanVariant.NONE
    found = np.frombuffer(prob_of(IECore().load_network(network, "CPU"), picture), np.float32)
    wanted = np.frombuffer(expected(in_floats, picture / scales), np.float32)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def prob_of(network: ExecutableNetwork, picture: np.ndarray) -> bytes:
    return network.infer({"data": picture})["prob"].tobytes()


def test_what_preprocessing_refuses(network: IENetwork, shared: ExecutableNetwork) -> None:
    info, other, plane = info_of(network), PreProcessInfo(), Blob(TensorDesc("FP32", [2, 2], "HW"))
    info.init(2)
    of_request = shared.requests[0].preprocess_info["data"]
    calls: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: setattr(info, "mean_variant", "NONE"), TypeError, "^mean_variant is no MeanVariant; expected M"),
        (
            lambda: setattr(info, "resize_algorithm", 9),
            ValueError,
            "^resize_algorithm is no ResizeAlgorithm",
        ),
        (
            lambda: setattr(info, "color_format", ColorFormat.NV12),
            RuntimeError,
            r"^\[NOT_IMPLEMENTED\] pictures of",
        ),
        (lambda: setattr(info[0], "mean_value", "1"), TypeError, "^mean_value is no number; found '1'$"),
        (
            lambda: setattr(info[0], "mean_value", float("inf")),
            ValueError,
            "^mean_value is out of range; expected finite, found inf$",
        ),
        (
            lambda: setattr(info[0], "std_scale", 0),
            ValueError,
            "^std_scale is out of range; expected finite, other than 0",
        ),
        (
            lambda: setattr(info[0], "mean_data", 3),
            TypeError,
            "^mean_data is no blob; expected a Blob",
        ),
        (lambda: info[2], IndexError, "^there is no such channel; expected 0 to 1, found 2$"),
        (lambda: other[0], IndexError, "^there is no such channel; expected init first, found 0$"),
        (lambda: info["r"], TypeError, "^channels have numbers; found 'r'$"),  # pyright: ignore
        (lambda: info.init(-1), ValueError, "^this is no number of channels; expected"),
        (lambda: info.init("3"), TypeError, "^this is no number of channels; expected 0 to 65536"),  # pyright: ignore
        (lambda: info.set_mean_image(plane), ValueError, "^this is no mean image; expected FP32 of 3 dimensions"),
        (lambda: info.set_mean_image_for_channel(3, 0), TypeError, "^a mean image is a blob"),  # pyright: ignore
        (lambda: info.set_mean_image_for_channel(plane, 5), IndexError, "^there is no such channel"),
        (lambda: of_request.init(3), TypeError, "^Cannot set channels when called from constant; expected"),
        (
            lambda: setattr(of_request, "color_format", ColorFormat.BGR),
            TypeError,
            "^Cannot set color format",
        ),
    ]
    for call, error, text in calls:
        with pytest.raises(error, match=text):
            call()
    with pytest.raises(RuntimeError, match=r"channel 1 has no mean image\. Call set_mean_image\.$"):
        info.mean_variant, info[0].mean_data = MeanVariant.MEAN_IMAGE, plane
        IECore().load_network(network, "CPU")
    info.mean_variant = MeanVariant.MEAN_VALUE
    with pytest.raises(RuntimeError, match="'data': the pre-process does not name each channel once; expected ids"):
        IECore().load_network(network, "CPU")
