"""The constants of the API."""

from __future__ import annotations

from enum import IntEnum


class Const(IntEnum):
    """Limits and sizes. Constants of equal values are one member."""

    MAX_CROP_BOX = 4
    FD_MAX = 10
    LAND_MARK_POINTS = 5
    FR_FEAT_LENGTH = 256
    YOLO_GOOD_BOX_MAX = 100
    APP_PADDING_BYTES = 20
    MAX_INPUT_NODE_COUNT = 5
    MAX_MODEL_NUM_IN_NEF = 16
    CHANNEL_NUM_RGBA8888 = 4
    CHANNEL_NUM_RAW8 = 1
    CHANNEL_NUM_OTHER_FORMAT = 2


__all__ = ["Const"]
