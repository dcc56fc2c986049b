"""Values that describe what a device sends back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..members import Member, Value, content, integer, item, items, signed
from .images import InferenceCropBox


@dataclass(repr=False, eq=False)
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


@dataclass(repr=False, eq=False)
class GenericRawResultHeader(Value):
    """What is said of the result of an image.

    Attributes:
        inference_number: that of the header which was sent.
        crop_number: which part of the image.
        num_output_node: how many outputs there are.
        product_id: of the device.
        hw_pre_proc_info: what was done to the image.
    """

    inference_number: Member[int] = integer(0)
    crop_number: Member[int] = integer(0)
    num_output_node: Member[int] = integer(0)
    product_id: Member[int] = integer(0)
    hw_pre_proc_info: Member[HwPreProcInfo] = item(HwPreProcInfo)


@dataclass(repr=False, eq=False)
class GenericRawBypassPreProcResultHeader(GenericRawResultHeader):
    """What is said of the result of a buffer that was sent as the input of the model itself; the same attributes."""


@dataclass(repr=False, eq=False)
class GenericDataInferenceResultHeader(Value):
    """What is said of the result of data, in API 2.x.

    Attributes:
        inference_number: that of the descriptor which was sent.
        crop_number: 0.
        num_output_node: how many outputs there are.
        product_id: of the device.
    """

    inference_number: Member[int] = integer(0)
    crop_number: Member[int] = integer(0)
    num_output_node: Member[int] = integer(0)
    product_id: Member[int] = integer(0)


@dataclass(repr=False, eq=False)
class GenericImageInferenceResultHeader(Value):
    """What is said of the result of images, in API 2.x.

    Attributes:
        inference_number: that of the descriptor which was sent.
        crop_number: which part of the image.
        num_output_node: how many outputs there are.
        product_id: of the device.
        hw_pre_proc_info_list: what was done to the image of each input.
    """

    inference_number: Member[int] = integer(0)
    crop_number: Member[int] = integer(0)
    num_output_node: Member[int] = integer(0)
    product_id: Member[int] = integer(0)
    hw_pre_proc_info_list: Member[list[HwPreProcInfo]] = items(HwPreProcInfo)

    @property
    def num_hw_pre_proc_info(self) -> int:
        """How many images there were."""
        return len(self.hw_pre_proc_info_list)

    def get_member_variable_dict(self) -> dict:
        """The attributes by name."""
        shown = super().get_member_variable_dict()
        infos = shown.pop("hw_pre_proc_info_list")
        return {**shown, "num_hw_pre_proc_info": self.num_hw_pre_proc_info, "hw_pre_proc_info_list": infos}


@dataclass(repr=False, eq=False)
class GenericRawResultNDArray(Value):
    """The bytes of a result as the device sends them.

    Attributes:
        buffer_size: how many there are room for; -1 where the model is unknown.
        data: what was received.
    """

    buffer_size: Member[int] = signed()
    data: Member[bytes] = content(b"")

    def get_member_variable_dict(self) -> dict:
        """The size."""
        return {"buffer_size": self.buffer_size}


class GenericRawResult(Value):
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
