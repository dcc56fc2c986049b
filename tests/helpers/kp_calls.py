"""Short forms of the kp API's calls, for tests of its queues."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kp_networks import ID

from tilewright.runtime.api import kp

RAW8 = kp.ImageFormat.KP_IMAGE_FORMAT_RAW8
IMAGE = np.zeros((32, 40), np.uint8)


def send(group: kp.DeviceGroup, number: int = 0, crops: int = 0) -> None:
    """A black image."""
    boxes = [kp.InferenceCropBox(index, 0, 0, 8, 8) for index in range(crops)]
    header = kp.GenericRawImageHeader(model_id=ID, inference_number=number, inference_crop_box_list=boxes)
    kp.inference.generic_raw_inference_send(group, header, IMAGE, RAW8)


def receive(group: kp.DeviceGroup) -> int:
    """The number of the next result."""
    header, descriptor = kp.GenericRawImageHeader(model_id=ID), kp.core.get_model_info(group, 0)
    return kp.inference.generic_raw_inference_receive(group, header, descriptor).header.inference_number


def refused(code: int, call: Callable[[], object]) -> str:
    """The reason of the exception that a call must end in."""
    with pytest.raises(kp.ApiKPException) as caught:
        call()
    assert caught.value.api_return_code == code, caught.value
    return caught.value.reason
