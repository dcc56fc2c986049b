"""Values that describe what is sent to a device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..enums import Const, ImageFormat, NormalizeMode, PaddingMode, ResizeMode
from ..members import Member, Unfit, Value, content, enumeration, flag, integer, items, lines


class InferenceCropBox(Value):
    """A part of an image, which is inferred by itself.

    Attributes:
        crop_box_index: number of the box.
        x, y: of its upper left corner, in pixels.
        width, height: in pixels.
    """

    crop_box_index: Member[int] = integer(0)
    x: Member[int] = integer(0)
    y: Member[int] = integer(0)
    width: Member[int] = integer(0)
    height: Member[int] = integer(0)


class InferenceConfiguration(Value):
    """How a device infers.
    ``enable_frame_drop``: sending never waits, and the oldest image that waits is discarded where there is no room."""

    enable_frame_drop: Member[bool] = flag(False)


class _Cropped:
    """An image of which parts may be inferred."""

    inference_crop_box_list: Any

    @property
    def crop_count(self) -> int:
        """How many parts there are."""
        return len(self.inference_crop_box_list)


class GenericRawImageHeader(_Cropped, Value):
    """What is said of an image that is sent.

    Attributes:
        model_id: which model infers it.
        resize_mode, padding_mode, normalize_mode: how it becomes an input of the model.
        inference_number: which the result carries, too.
        inference_crop_box_list: parts of the image, at most four, each of which has a result; none for the whole.
        width, height: in pixels. Sending an array sets them, sending bytes does not.
        image_format: sending sets it.
    """

    model_id: Member[int] = integer(0)
    resize_mode: Member[ResizeMode] = enumeration(ResizeMode.KP_RESIZE_ENABLE)
    padding_mode: Member[PaddingMode] = enumeration(PaddingMode.KP_PADDING_CORNER)
    normalize_mode: Member[NormalizeMode] = enumeration(NormalizeMode.KP_NORMALIZE_KNERON)
    inference_number: Member[int] = integer(0)
    inference_crop_box_list: Member[list[InferenceCropBox]] = items(InferenceCropBox)
    width: Member[int] = integer(0)
    height: Member[int] = integer(0)
    image_format: Member[ImageFormat] = enumeration(ImageFormat.KP_IMAGE_FORMAT_RGB565)

    def get_member_variable_dict(self) -> dict:
        """The image, and how it is inferred."""
        shown = {**super().get_member_variable_dict(), "crop_count": self.crop_count}
        modes = ("resize_mode", "padding_mode", "normalize_mode", "inference_number", "model_id")
        return {
            "image": {name: shown[name] for name in ("width", "height", "image_format")},
            "inference_configuration": {
                name: shown[name] for name in (*modes, "crop_count", "inference_crop_box_list")
            },
        }


class GenericRawBypassPreProcImageHeader(Value):
    """What is said of a buffer that is sent as the input of the model itself.

    Attributes:
        model_id: which model infers it.
        inference_number: which the result carries, too.
        image_buffer_size: bytes of the buffer.
    """

    model_id: Member[int] = integer(0)
    inference_number: Member[int] = integer(0)
    image_buffer_size: Member[int] = integer(0)

    _SHOWN = ("inference_number", "model_id", "image_buffer_size")


def _read_image(value: Any) -> bytes | np.ndarray:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, np.ndarray):
        raise Unfit("bytes or numpy.ndarray")
    if value.dtype != np.uint8:
        raise Unfit("an array of uint8")
    return value


class GenericInputNodeImage(_Cropped, Value):
    """An image for an input of a model, in API 2.x.

    Attributes:
        image: bytes, or uint8[height, width, channels], of two channels for 16 bits a pixel.
        width, height: in pixels, for bytes; those of an array are taken from it.
        image_format: of the image.
        resize_mode, padding_mode, normalize_mode: how it becomes an input of the model.
        inference_crop_box_list: parts of the image, at most four; none for the whole.
    """

    image: Member[bytes | np.ndarray] = Member(
        _read_image, lambda value: lines(value) if isinstance(value, np.ndarray) else len(value), b""
    )
    width: Member[int] = integer(0)
    height: Member[int] = integer(0)
    image_format: Member[ImageFormat] = enumeration(ImageFormat.KP_IMAGE_FORMAT_RGB565)
    resize_mode: Member[ResizeMode] = enumeration(ResizeMode.KP_RESIZE_ENABLE)
    padding_mode: Member[PaddingMode] = enumeration(PaddingMode.KP_PADDING_CORNER)
    normalize_mode: Member[NormalizeMode] = enumeration(NormalizeMode.KP_NORMALIZE_KNERON)
    inference_crop_box_list: Member[list[InferenceCropBox]] = items(InferenceCropBox)

    def __post_init__(self) -> None:
        if isinstance(self.image, bytes) and not self.image:
            self.image = np.zeros((0, 0, Const.CHANNEL_NUM_OTHER_FORMAT.value), np.uint8)
        if isinstance(self.image, np.ndarray) and self.image.ndim >= 2:
            self.height, self.width = self.image.shape[:2]

    _SHOWN = (
        *("image", "width", "height", "image_format", "resize_mode", "padding_mode", "normalize_mode"),
        *("crop_count", "inference_crop_box_list"),
    )


class GenericImageInferenceDescriptor(Value):
    """An inference of images, in API 2.x.

    Attributes:
        inference_number: which the result carries, too.
        model_id: which model infers them.
        input_node_image_list: an image for each input.
    """

    inference_number: Member[int] = integer(0)
    model_id: Member[int] = integer(0)
    input_node_image_list: Member[list[GenericInputNodeImage]] = items(GenericInputNodeImage)

    @property
    def input_node_image_num(self) -> int:
        """How many images there are."""
        return len(self.input_node_image_list)

    _SHOWN = ("model_id", "inference_number", "input_node_image_num", "input_node_image_list")


class GenericInputNodeData(Value):
    """The data of an input of a model, in API 2.x.
    ``buffer``: as the device reads it."""

    buffer: Member[bytes] = content(b"")

    @property
    def buffer_size(self) -> int:
        """Bytes of the buffer."""
        return len(self.buffer)

    _SHOWN = ("buffer_size",)


class GenericDataInferenceDescriptor(Value):
    """An inference of data that the host has preprocessed, in API 2.x.

    Attributes:
        inference_number: which the result carries, too.
        model_id: which model infers it.
        input_node_data_list: the data of each input.
    """

    inference_number: Member[int] = integer(0)
    model_id: Member[int] = integer(0)
    input_node_data_list: Member[list[GenericInputNodeData]] = items(GenericInputNodeData)

    @property
    def input_node_data_num(self) -> int:
        """How many inputs there are."""
        return len(self.input_node_data_list)

    _SHOWN = ("model_id", "inference_number", "input_node_data_num", "input_node_data_list")


__all__ = ["GenericDataInferenceDescriptor", "GenericImageInferenceDescriptor", "GenericInputNodeData"]
__all__ += ["GenericInputNodeImage", "GenericRawBypassPreProcImageHeader", "GenericRawImageHeader"]
__all__ += ["InferenceConfiguration", "InferenceCropBox"]
