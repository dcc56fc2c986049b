"""The enumerations of the API."""

from __future__ import annotations

from .named_enum import NamedIntEnum
from .return_codes import ApiReturnCode


class ChannelOrdering(NamedIntEnum):
    """The order of a node's dimensions: HCW is that of KL520, CHW that of KL720, and DEFAULT that of the device."""

    KP_CHANNEL_ORDERING_HCW = 0
    KP_CHANNEL_ORDERING_CHW = 1
    KP_CHANNEL_ORDERING_HWC = 2
    KP_CHANNEL_ORDERING_DEFAULT = 3


class ImageFormat(NamedIntEnum):
    """Formats of images, in bytes as they lie in memory.

    RGB565 is of 16 bits a pixel, the lower byte first, with red in the upper five bits and blue in the lower; RGBA8888
    has a byte each of red, green, blue and alpha. The names of YCBCR422 give the bytes of two pixels in order, and YUYV
    is Y0CBY1CR. RAW8 is grey, a byte a pixel. YUV420 has a plane of Y and two of a quarter of the size.
    """

    KP_IMAGE_FORMAT_UNKNOWN = 0x0
    KP_IMAGE_FORMAT_RGB565 = 0x60
    KP_IMAGE_FORMAT_RGBA8888 = 0x0D
    KP_IMAGE_FORMAT_YUYV = 0x2F
    KP_IMAGE_FORMAT_YCBCR422_CRY1CBY0 = 0x30
    KP_IMAGE_FORMAT_YCBCR422_CBY1CRY0 = 0x31
    KP_IMAGE_FORMAT_YCBCR422_Y1CRY0CB = 0x32
    KP_IMAGE_FORMAT_YCBCR422_Y1CBY0CR = 0x33
    KP_IMAGE_FORMAT_YCBCR422_CRY0CBY1 = 0x34
    KP_IMAGE_FORMAT_YCBCR422_CBY0CRY1 = 0x35
    KP_IMAGE_FORMAT_YCBCR422_Y0CRY1CB = 0x36
    KP_IMAGE_FORMAT_YCBCR422_Y0CBY1CR = 0x37
    KP_IMAGE_FORMAT_RAW8 = 0x20
    KP_IMAGE_FORMAT_YUV420 = 0x70


class NormalizeMode(NamedIntEnum):
    """What pixels of 0 to 255 become: KNERON x / 256 - 0.5, TENSOR_FLOW x / 127.5 - 1, YOLO x / 255.

    The customised modes subtract 128, halve, or do both, on the bytes themselves.
    """

    KP_NORMALIZE_DISABLE = 0xFF
    KP_NORMALIZE_KNERON = 0x1
    KP_NORMALIZE_TENSOR_FLOW = 0x2
    KP_NORMALIZE_YOLO = 0x3
    KP_NORMALIZE_CUSTOMIZED_DEFAULT = 0x4
    KP_NORMALIZE_CUSTOMIZED_SUB128 = 0x5
    KP_NORMALIZE_CUSTOMIZED_DIV2 = 0x6
    KP_NORMALIZE_CUSTOMIZED_SUB128_DIV2 = 0x7


class PaddingMode(NamedIntEnum):
    """Where a resized image that keeps its proportions is filled up: CORNER at the right and at the bottom."""

    KP_PADDING_DISABLE = 0x1
    KP_PADDING_CORNER = 0x2
    KP_PADDING_SYMMETRIC = 0x3


class ResizeMode(NamedIntEnum):
    """Whether images are resized to the input of the model."""

    KP_RESIZE_DISABLE = 0x1
    KP_RESIZE_ENABLE = 0x2


class ProductId(NamedIntEnum):
    """USB product numbers of devices."""

    KP_DEVICE_KL520 = 0x100
    KP_DEVICE_KL720 = 0x720
    KP_DEVICE_KL720_LEGACY = 0x200
    KP_DEVICE_KL530 = 0x530
    KP_DEVICE_KL730 = 0x730
    KP_DEVICE_KL630 = 0x630
    KP_DEVICE_KL540 = 0x540
    KP_DEVICE_KL830 = 0x832


class ResetMode(NamedIntEnum):
    """How far a device is reset: REBOOT disconnects it, INFERENCE empties its queues."""

    KP_RESET_REBOOT = 0
    KP_RESET_INFERENCE = 1
    KP_RESET_SHUTDOWN = 2
    KP_RESET_REBOOT_SYSTEM = 3


class UsbSpeed(NamedIntEnum):
    """The speed of a USB link."""

    KP_USB_SPEED_UNKNOWN = 0
    KP_USB_SPEED_LOW = 1
    KP_USB_SPEED_FULL = 2
    KP_USB_SPEED_HIGH = 3
    KP_USB_SPEED_SUPER = 4


class ModelTargetChip(NamedIntEnum):
    """The device that a model is for."""

    KP_MODEL_TARGET_CHIP_UNKNOWN = 0
    KP_MODEL_TARGET_CHIP_KL520 = 1
    KP_MODEL_TARGET_CHIP_KL720 = 2
    KP_MODEL_TARGET_CHIP_KL530 = 3
    KP_MODEL_TARGET_CHIP_KL730 = 4
    KP_MODEL_TARGET_CHIP_KL630 = 5
    KP_MODEL_TARGET_CHIP_KL540 = 6


class ModelTensorDataLayout(NamedIntEnum):
    """How a tensor lies in the memory of a device: the elements of width and channel in a block, and bits of each."""

    KP_MODEL_TENSOR_DATA_LAYOUT_UNKNOWN = 0
    KP_MODEL_TENSOR_DATA_LAYOUT_4W4C8B = 1
    KP_MODEL_TENSOR_DATA_LAYOUT_1W16C8B = 2
    KP_MODEL_TENSOR_DATA_LAYOUT_16W1C8B = 3
    KP_MODEL_TENSOR_DATA_LAYOUT_8W1C16B = 4
    KP_MODEL_TENSOR_DATA_LAYOUT_4W4C8BHL = 5
    KP_MODEL_TENSOR_DATA_LAYOUT_1W16C8BHL = 6
    KP_MODEL_TENSOR_DATA_LAYOUT_16W1C8BHL = 7
    KP_MODEL_TENSOR_DATA_LAYOUT_RAW_8B = 8
    KP_MODEL_TENSOR_DATA_LAYOUT_RAW_16B = 9
    KP_MODEL_TENSOR_DATA_LAYOUT_RAW_FLOAT = 10
    KP_MODEL_TENSOR_DATA_LAYOUT_1W16C8B_CH_COMPACT = 11
    KP_MODEL_TENSOR_DATA_LAYOUT_1W16C8BHL_CH_COMPACT = 12
    KP_MODEL_TENSOR_DATA_LAYOUT_HW4C8B_KEEP_A = 13
    KP_MODEL_TENSOR_DATA_LAYOUT_HW4C8B_DROP_A = 14
    KP_MODEL_TENSOR_DATA_LAYOUT_HW1C8B = 15
    KP_MODEL_TENSOR_DATA_LAYOUT_HW1C16B_LE = 16
    KP_MODEL_TENSOR_DATA_LAYOUT_HW1C16B_BE = 17


class FixedPointDType(NamedIntEnum):
    """The integers of a node's raw data."""

    KP_FIXED_POINT_DTYPE_UNKNOWN = 0
    KP_FIXED_POINT_DTYPE_INT8 = 1
    KP_FIXED_POINT_DTYPE_INT16 = 2


class DataType(NamedIntEnum):
    """Kinds of numbers."""

    KP_DTYPE_UNKNOWN = 0
    KP_DTYPE_INT8 = 1
    KP_DTYPE_INT16 = 2
    KP_DTYPE_INT32 = 3
    KP_DTYPE_INT64 = 4
    KP_DTYPE_UINT8 = 5
    KP_DTYPE_UINT16 = 6
    KP_DTYPE_UINT32 = 7
    KP_DTYPE_UINT64 = 8
    KP_DTYPE_FLOAT32 = 9
    KP_DTYPE_BFLOAT16 = 10
    KP_DTYPE_DOUBLE64 = 11


class ModelTensorShapeInformationVersion(NamedIntEnum):
    """Which form the shape of a tensor is told in."""

    KP_MODEL_TENSOR_SHAPE_INFO_VERSION_UNKNOWN = 0
    KP_MODEL_TENSOR_SHAPE_INFO_VERSION_1 = 1
    KP_MODEL_TENSOR_SHAPE_INFO_VERSION_2 = 2


class QuantizationParametersVersion(NamedIntEnum):
    """Which form the quantisation of a tensor is told in."""

    KP_MODEL_QUANTIZATION_PARAMS_VERSION_UNKNOWN = 0
    KP_MODEL_QUANTIZATION_PARAMS_VERSION_1 = 1


__all__ = [
    "ApiReturnCode",
    "ChannelOrdering",
    "DataType",
    "FixedPointDType",
    "ImageFormat",
    "ModelTargetChip",
    "ModelTensorDataLayout",
    "ModelTensorShapeInformationVersion",
    "NormalizeMode",
    "PaddingMode",
    "ProductId",
    "QuantizationParametersVersion",
    "ResetMode",
    "ResizeMode",
    "UsbSpeed",
]
