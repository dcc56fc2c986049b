"""What programs send to a device, which is checked and copied, and what the device makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tilewright.errors import ResourceError

from ..enums import ApiReturnCode, Const, ImageFormat
from ..exceptions import Refusal, wrong
from ..members import argument, enumeration
from ..preprocessing.pipeline import Crop, Picture, Prepared, input_of, prepare
from ..preprocessing.pixels import Box, Size, bytes_of_image
from ..raw_results import DATA_JOB, IMAGE_JOB, Stamp, pack
from ..values.images import GenericInputNodeImage, GenericRawImageHeader

if TYPE_CHECKING:
    from .group import Group
    from .models import LoadedModel


@dataclass(frozen=True, eq=False)
class Job:
    """An image, or data, for each input of a network.

    Attributes:
        kind: `IMAGE_JOB` or `DATA_JOB`.
        model: the network.
        inference_number: which the results carry.
        inputs: for each input an image, or uint8[bytes] that bypass preprocessing.
        crops: of each input; each gives a result. None is the whole.
    """

    kind: int
    model: LoadedModel
    inference_number: int
    inputs: tuple[Picture | np.ndarray, ...]
    crops: tuple[tuple[Crop | None, ...], ...] = ((None,),)


@dataclass(frozen=True, eq=False)
class Result:
    """What a device gives back for a crop box.

    Attributes:
        job: what it is the result of.
        crop_number: of the box.
        raw: as `pack` makes it; empty where it failed.
        prepared: how the images became inputs.
        crops: of each input, the box.
        error: why it failed.
    """

    job: Job
    crop_number: int
    raw: bytes = b""
    prepared: tuple[Prepared, ...] = ()
    crops: tuple[Crop | None, ...] = ()
    error: Refusal | None = None


_IMAGE_HEADER, _DATA_HEADER = 132, 28
"""Bytes that go before an image, or before data, in an input buffer."""


How = GenericRawImageHeader | GenericInputNodeImage
"""How an image becomes an input, as programs of 1.x and 2.x tell it."""


class Pixels(NamedTuple):
    """An image as bytes: uint8[bytes], perhaps more or fewer than it should have; nobody else writes to them."""

    data: np.ndarray
    size: Size
    format: ImageFormat


def pixels_of(image: object, image_format: object, width: int, height: int) -> Pixels:
    """An image that a program sends. ``width``, ``height``: of one in bytes; an array has its own."""
    format = argument("image_format", image_format, enumeration(ImageFormat))
    bytes_of_image(format, 1, 1)
    if isinstance(image, np.ndarray):
        return Pixels(np.array(image, order="C").reshape(-1), _size_of(image, format), format)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return Pixels(np.frombuffer(bytes(image), np.uint8), Size(width, height), format)
    raise wrong("image", "bytes or numpy.ndarray", type(image).__name__)


def _size_of(image: np.ndarray, format: ImageFormat) -> Size:
    """The size of an image that is an array; raises Refusal where the array does not fit the format."""
    rows, columns = image.shape[:2] if image.ndim in (2, 3) else (0, 0)
    if format == ImageFormat.KP_IMAGE_FORMAT_YUV420:
        # A plane of Y, and below it those of Cb and Cr, as OpenCV has it.
        fits, shape = image.ndim == 2 and rows % 3 == 0, "height * 3 / 2, width"
        rows = rows * 2 // 3
    elif format == ImageFormat.KP_IMAGE_FORMAT_RAW8:
        fits, shape = image.ndim == 2 or image.shape[2:] == (1,), "height, width"
    else:
        channels = bytes_of_image(format, 1, 1)
        fits, shape = image.ndim == 3 and image.shape[2] == channels, f"height, width, {channels}"
    if not fits or image.dtype != np.uint8:
        raise wrong("image", f"uint8[{shape}] for {format}", f"{image.dtype}{list(image.shape)}")
    return Size(columns, rows)


def image_job(
    group: Group, turn: int, model_id: int, inference_number: int, images: Sequence[tuple[How, Pixels]]
) -> Job:
    """The job of images, one for each input of a model. Raises Refusal: as the calls that send images tell, in their
    order."""
    counts = {len(how.inference_crop_box_list) for how, _ in images}
    if max(counts, default=0) > Const.MAX_CROP_BOX or len(counts) > 1:
        expected = f"at most {Const.MAX_CROP_BOX.value}, and as many for each image"
        raise wrong("inference_crop_box_list", expected, sorted(counts))
    model = _model(group, turn, model_id, len(images))
    _check_size(group, _IMAGE_HEADER, [bytes_of_image(pixels.format, *pixels.size) for _, pixels in images])
    pictures = [
        Picture(
            _complete(pixels),
            pixels.format,
            pixels.size,
            how.resize_mode,
            how.padding_mode,
            how.normalize_mode,
            tuple(
                Crop(box.crop_box_index, Box(box.x, box.y, box.width, box.height))
                for box in how.inference_crop_box_list
            ),
        )
        for how, pixels in images
    ]
    crops = tuple(zip(*(picture.crops or (None,) for picture in pictures), strict=True))
    return Job(IMAGE_JOB, model, inference_number, tuple(pictures), crops)


def _complete(pixels: Pixels) -> np.ndarray:
    """The bytes of an image, exactly."""
    needed = bytes_of_image(pixels.format, *pixels.size)
    if not needed:
        raise Refusal(
            ApiReturnCode.KP_ERROR_IMAGE_RESOLUTION_TOO_SMALL_22,
            "the image has no pixels",
            found=pixels.size,
            hint="Give an array that has rows and columns; of bytes, the header tells width and height.",
        )
    if len(pixels.data) < needed:
        raise wrong("image", f"at least {needed} bytes for {pixels.size} in {pixels.format}", len(pixels.data))
    return pixels.data[:needed]


def data_job(group: Group, turn: int, model_id: int, inference_number: int, buffers: Sequence[np.ndarray]) -> Job:
    """The job of data, uint8[bytes] for each input of a model."""
    model = _model(group, turn, model_id, len(buffers))
    _check_size(group, _DATA_HEADER, [len(buffer) for buffer in buffers])
    return Job(DATA_JOB, model, inference_number, tuple(buffers), ((None,) * len(buffers),))


def _model(group: Group, turn: int, model_id: int, inputs: int) -> LoadedModel:
    loaded = group.loaded
    models = {} if loaded is None else loaded[turn].models
    model = models.get(model_id)
    if model is not None and len(model.inputs) != inputs:
        raise wrong("the number of inputs", f"{len(model.inputs)}, as model {model_id} has", inputs)
    if inputs > group.inputs:
        raise Refusal(
            ApiReturnCode.KP_ERROR_FIFOQ_INPUT_BUFF_COUNT_NOT_ENOUGH_42,
            "the device has fewer buffers than the model has inputs",
            expected=f"at least {inputs}",
            found=group.inputs,
        )
    if model is None:
        raise Refusal(
            ApiReturnCode.KP_ERROR_MODEL_NOT_LOADED_35,
            f"there is no model {model_id} on the device",
            expected=f"one of {', '.join(map(str, models))}" if models else "a model to be loaded first",
            hint="models[0].id of what load_model returns is the id of the first.",
        )
    return model


def _check_size(group: Group, header: int, sizes: Sequence[int]) -> None:
    largest = header + max(sizes)
    if largest > group.input_size:
        raise Refusal(
            ApiReturnCode.KP_ERROR_SEND_DATA_TOO_LARGE_15,
            "this does not fit an input buffer of the device",
            expected=f"at most {group.input_size} bytes with a header of {header}",
            found=largest,
        )


def result_of(job: Job, index: int) -> Result:
    """The result of one of a job's crop boxes. What goes wrong is in the result."""
    crops = job.crops[index]
    number = 0 if crops[0] is None else crops[0].number
    stamp = Stamp(job.kind, job.inference_number, number, index == len(job.crops) - 1)
    try:
        raw, prepared = _infer(job, crops, stamp)
    except Refusal as refusal:
        return Result(job, number, error=refusal)
    except (ResourceError, MemoryError) as error:
        return Result(job, number, error=_failure(ApiReturnCode.KP_FW_DDR_MALLOC_FAILED_102, error))
    except Exception as error:
        # Whatever it is: the device goes on.
        return Result(job, number, error=_failure(ApiReturnCode.KP_FW_INFERENCE_ERROR_101, error))
    return Result(job, number, raw, prepared, crops)


def _failure(code: ApiReturnCode, error: Exception) -> Refusal:
    refusal = Refusal(code, str(error) or type(error).__name__)
    refusal.__cause__ = error
    return refusal


def _infer(job: Job, crops: tuple[Crop | None, ...], stamp: Stamp) -> tuple[bytes, tuple[Prepared, ...]]:
    model = job.model
    values: dict[str, np.ndarray] = {}
    account: list[Prepared] = []
    for data, crop, node in zip(job.inputs, crops, model.inputs, strict=True):
        if isinstance(data, Picture):
            account.append(prepare(data, crop, node.shape, model.product.abilities))
            values[node.name] = account[-1].values
        else:
            values[node.name] = input_of(data, node.shape)
    return pack(model.product.id, stamp, model.outputs, model.run(values)), tuple(account)
