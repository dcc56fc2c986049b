"""Tables that programs import from ``openvino.inference_engine.constants`` and ``openvino.inference_engine.ie_api``."""

from enum import IntEnum

import numpy as np

__all__ = ["ColorFormat", "MeanVariant", "ResizeAlgorithm", "StatusCode", "WaitMode", "format_map", "known_plugins"]
__all__ += ["layout_int_to_str_map", "layout_str_to_enum", "supported_precisions"]


class Number(IntEnum):
    """A number with a name, printed as the number."""

    __str__ = int.__repr__


class StatusCode(Number):
    """What became of a request, and why a call failed; equal to the plain integers that programs compare with."""

    OK = 0
    GENERAL_ERROR = -1
    NOT_IMPLEMENTED = -2
    NETWORK_NOT_LOADED = -3
    PARAMETER_MISMATCH = -4
    NOT_FOUND = -5
    OUT_OF_BOUNDS = -6
    UNEXPECTED = -7
    REQUEST_BUSY = -8
    RESULT_NOT_READY = -9
    NOT_ALLOCATED = -10
    INFER_NOT_STARTED = -11
    NETWORK_NOT_READ = -12


class WaitMode(Number):
    """What ``wait`` takes instead of a number of milliseconds."""

    RESULT_READY = -1
    STATUS_ONLY = 0


class Layout(Number):
    """How the dimensions of a blob follow one another."""

    ANY = 0
    NCHW = 1
    NHWC = 2
    NCDHW = 3
    NDHWC = 4
    OIHW = 64
    SCALAR = 95
    C = 96
    CHW = 128
    HW = 192
    NC = 193
    CN = 194
    BLOCKED = 200


class MeanVariant(Number):
    """What a network subtracts from an input first."""

    MEAN_IMAGE = 0
    MEAN_VALUE = 1
    NONE = 2


class ResizeAlgorithm(Number):
    """How pictures of another size become those of an input."""

    NO_RESIZE = 0
    RESIZE_BILINEAR = 1
    RESIZE_AREA = 2


class ColorFormat(Number):
    """The order of the channels in which programs give pictures; networks take blue, green, red."""

    RAW = 0
    RGB = 1
    BGR = 2
    RGBX = 3
    BGRX = 4
    NV12 = 5
    I420 = 6


CPU, FPGA, HETERO, MULTI, AUTO = "CPU", "FPGA", "HETERO", "MULTI", "AUTO"

known_plugins: list[str] = [CPU, "GPU", FPGA, "MYRIAD", HETERO, "HDDL", MULTI, "GNA", AUTO]
"""The devices that have a name; not all of them are here."""

layout_int_to_str_map: dict[int, str] = {int(layout): layout.name for layout in Layout}
"""The names of layouts by their numbers."""

layout_str_to_enum: dict[str, Layout] = {layout.name: layout for layout in Layout}
"""Layouts by their names."""

format_map: dict[str, type[np.generic]] = {
    "FP64": np.float64,
    "FP32": np.float32,
    "FP16": np.float16,
    "Q78": np.int16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""The NumPy types of precisions. Original: arrays of FP16 showed the bits, as 16-bit integers."""

supported_precisions: list[str] = list(format_map)
"""The names of all precisions."""
