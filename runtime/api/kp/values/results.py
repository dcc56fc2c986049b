"""Values that describe what a device sends back, and hold the outputs of a model."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..enums import ChannelOrdering, FixedPointDType
from ..exceptions import MemberValueError
from ..members import (
    Member,
    Value,
    ValueRepresentBase,
    array,
    content,
    enumeration,
    integer,
    item,
    items,
    number,
    signed,
)
from .images import InferenceCropBox


class HwPreProcInfo(Value):
    """What was done to an image before it was inferred, in pixels; all 0 for data that the host has preprocessed.

    A point (x, y) of the input of the model is the point ((x - pad_left) * img_width / resized_img_width + crop_area.x,
    (y - pad_top) * img_height / resized_img_height + crop_area.y) of the image that was sent.

    Attributes:
        img_width, img_height: of the image, or of the part that was cut out.
        resized_img_width, resized_img_height: after resizing, before padding.
        pad_top, pad_bottom, pad_left, pad_right: what was added.
        model_input_width, model_input_height: of the input of the model.
        crop_area: the part that was cut out.
    """

    img_width: Member[int] = integer(0)
    img_height: Member[int] = integer(0)
    resized_img_width: Member[int] = integer(0)
    resized_img_height: Member[int] = integer(0)
    pad_top: Member[int] = integer(0)
    pad_bottom: Member[int] = integer(0)
    pad_left: Member[int] = integer(0)
    pad_right: Member[int] = integer(0)
    model_input_width: Member[int] = integer(0)
    model_input_height: Member[int] = integer(0)
    crop_area: Member[InferenceCropBox] = item(InferenceCropBox)


class _ResultHeader(Value):
    """What is said of any result.

    Attributes:
        inference_number: that of the header or descriptor which was sent.
        crop_number: which part of the image; 0 of data.
        num_output_node: how many outputs there are.
        product_id: of the device.
    """

    inference_number: Member[int] = integer(0)
    crop_number: Member[int] = integer(0)
    num_output_node: Member[int] = integer(0)
    product_id: Member[int] = integer(0)


class GenericRawResultHeader(_ResultHeader):
    """What is said of the result of an image.
    ``hw_pre_proc_info``: what was done to the image."""

    hw_pre_proc_info: Member[HwPreProcInfo] = item(HwPreProcInfo)


class GenericRawBypassPreProcResultHeader(GenericRawResultHeader):
    """What is said of the result of a buffer that was sent as the input of the model itself; the same attributes."""


class GenericDataInferenceResultHeader(_ResultHeader):
    """What is said of the result of data, in API 2.x."""


class GenericImageInferenceResultHeader(_ResultHeader):
    """What is said of the result of images, in API 2.x.
    ``hw_pre_proc_info_list``: what was done to the image of each input."""

    hw_pre_proc_info_list: Member[list[HwPreProcInfo]] = items(HwPreProcInfo)

    _SHOWN = (
        *("inference_number", "crop_number", "num_output_node", "product_id"),
        *("num_hw_pre_proc_info", "hw_pre_proc_info_list"),
    )

    @property
    def num_hw_pre_proc_info(self) -> int:
        """How many images there were."""
        return len(self.hw_pre_proc_info_list)


class GenericRawResultNDArray(Value):
    """The bytes of a result as the device sends them.

    Attributes:
        buffer_size: how many there are room for; -1 where the model is unknown.
        data: what was received.
    """

    buffer_size: Member[int] = signed()
    data: Member[bytes] = content(b"")

    _SHOWN = ("buffer_size",)


class GenericRawResult(ValueRepresentBase):
    """The result of an image; the retrieve functions make its nodes of it.

    Attributes:
        header: what is said of the result.
        raw_result: its bytes.
    """

    HEADER: ClassVar[type[Value]] = GenericRawResultHeader

    def __init__(self, buffer_size: int) -> None:
        """Make an empty one with room for so many bytes."""
        self.header: Any = self.HEADER()
        self.raw_result = GenericRawResultNDArray(buffer_size)

    def get_member_variable_dict(self) -> dict:
        """Header and size."""
        parts = {"header": self.header, "raw_result": self.raw_result}
        return {name: part.get_member_variable_dict() for name, part in parts.items()}


class GenericRawBypassPreProcResult(GenericRawResult):
    """The result of a buffer that was sent as the input of the model itself."""

    HEADER = GenericRawBypassPreProcResultHeader


class GenericImageInferenceResult(GenericRawResult):
    """The result of images, in API 2.x."""

    HEADER = GenericImageInferenceResultHeader


class GenericDataInferenceResult(GenericRawResult):
    """The result of data, in API 2.x."""

    HEADER = GenericDataInferenceResultHeader


class _NodeOutput:
    """An output of a model: numbers in the order of its dimensions."""

    _SHOWN = ("width", "height", "channel", "channels_ordering", "num_data", "ndarray")

    width: Any
    height: Any
    channel: Any
    data: Any
    channels_ordering: Any

    @property
    def shape(self) -> list[int]:
        """That of `ndarray`, as API 3.x has it."""
        height, width, channel = self.height, self.width, self.channel
        if self.channels_ordering is ChannelOrdering.KP_CHANNEL_ORDERING_HCW:
            return [1, height, channel, width]
        if self.channels_ordering is ChannelOrdering.KP_CHANNEL_ORDERING_HWC:
            return [1, height, width, channel]
        return [1, channel, height, width]

    @property
    def ndarray(self) -> np.ndarray:
        """The numbers as a new array of shape (1, C, H, W), (1, H, C, W) or (1, H, W, C), by ``channels_ordering``.
        Raises MemberValueError: there are more or fewer than the extents ask for."""
        count = math.prod(self.shape)
        if self.data.size != count:
            expected = f"{count} numbers, width {self.width} by height {self.height} by channel {self.channel}"
            raise MemberValueError("the data do not fill the node", expected=expected, found=self.data.size)
        return self.data.reshape(self.shape).copy()


class InferenceFloatNodeOutput(_NodeOutput, Value):
    """An output of a model as real numbers.

    Attributes:
        width, height, channel: its extents.
        num_data: how many numbers there are.
        data: the numbers, of any shape, in the order that ``channels_ordering`` says.
        channels_ordering: the order of its dimensions; DEFAULT counts as CHW.
    """

    width: Member[int] = integer(0)
    height: Member[int] = integer(0)
    channel: Member[int] = integer(0)
    num_data: Member[int] = integer(0)
    data: Member[np.ndarray] = array()
    channels_ordering: Member[ChannelOrdering] = enumeration(ChannelOrdering.KP_CHANNEL_ORDERING_CHW)


class InferenceFixedNodeOutput(_NodeOutput, Value):
    """An output of a model as the integers that it computes: real = fixed * factor.

    Attributes:
        width, height, channel: its extents.
        radix: binary digits after the point; may be negative.
        scale: what integers are divided by besides.
        factor: 1 / (scale * 2 ** radix).
        num_data: how many integers there are.
        data: the integers, of any shape, in the order that ``channels_ordering`` says.
        channels_ordering: the order of its dimensions; DEFAULT counts as CHW.
        dtype: of the integers, which API 2.x tells.
    """

    width: Member[int] = integer(0)
    height: Member[int] = integer(0)
    channel: Member[int] = integer(0)
    radix: Member[int] = signed(0)
    scale: Member[float] = number(0.0)
    factor: Member[float] = number(0.0)
    num_data: Member[int] = integer(0)
    data: Member[np.ndarray] = array()
    channels_ordering: Member[ChannelOrdering] = enumeration(ChannelOrdering.KP_CHANNEL_ORDERING_CHW)
    dtype: Member[FixedPointDType] = enumeration(FixedPointDType.KP_FIXED_POINT_DTYPE_UNKNOWN)

    _SHOWN = (*_NodeOutput._SHOWN[:3], "radix", "scale", "factor", "channels_ordering", "dtype", "num_data", "ndarray")

    def to_float_node_output(self) -> InferenceFloatNodeOutput:
        """The same as real numbers in float32, which are those that retrieving the node as such gives.

        Original: in float64."""
        real = (self.data * np.float64(self.factor)).astype(np.float32)
        return InferenceFloatNodeOutput(
            self.width, self.height, self.channel, self.num_data, real, self.channels_ordering
        )


__all__ = ["GenericDataInferenceResult", "GenericDataInferenceResultHeader", "GenericImageInferenceResult"]
__all__ += ["GenericImageInferenceResultHeader", "GenericRawBypassPreProcResult", "GenericRawBypassPreProcResultHeader"]
__all__ += ["GenericRawResult", "GenericRawResultHeader", "GenericRawResultNDArray", "HwPreProcInfo"]
__all__ += ["InferenceFixedNodeOutput", "InferenceFloatNodeOutput"]
