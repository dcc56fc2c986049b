"""Inference: images or data go to devices by sending, and results come by receiving, in the order of the sends.

Programs may send and receive from different threads. What is sent is copied, headers as well. A device has buffers for
three images that wait and for three results; sending waits for room, receiving for a result, both for no longer than
`set_timeout` says.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from .devices import registry
from .devices.jobs import Result, data_job, image_job, pixels_of
from .enums import ApiReturnCode, ChannelOrdering, ImageFormat
from .exceptions import Refusal, documented, instance, wrong
from .members import Value, argument, content
from .preprocessing.pipeline import Crop, Prepared
from .raw_results import DATA_JOB, IMAGE_JOB, fixed_node, float_node
from .values.descriptors import DeviceGroup, ModelNefDescriptor
from .values.images import (
    GenericDataInferenceDescriptor,
    GenericImageInferenceDescriptor,
    GenericRawBypassPreProcImageHeader,
    GenericRawImageHeader,
    InferenceConfiguration,
    InferenceCropBox,
)
from .values.results import (
    GenericDataInferenceResult,
    GenericImageInferenceResult,
    GenericRawBypassPreProcResult,
    GenericRawResult,
    HwPreProcInfo,
    InferenceFixedNodeOutput,
    InferenceFloatNodeOutput,
)

__all__ = ["generic_data_inference_receive", "generic_data_inference_send", "generic_image_inference_receive"]
__all__ += ["generic_image_inference_send", "generic_inference_retrieve_fixed_node"]
__all__ += ["generic_inference_retrieve_float_node", "generic_raw_inference_bypass_pre_proc_receive"]
__all__ += ["generic_raw_inference_bypass_pre_proc_send", "generic_raw_inference_receive", "generic_raw_inference_send"]
__all__ += ["set_inference_configuration"]

R = TypeVar("R", bound=GenericRawResult)
V = TypeVar("V", bound=Value)


@documented
def generic_raw_inference_send(
    device_group: DeviceGroup,
    generic_raw_image_header: GenericRawImageHeader,
    image: bytes | np.ndarray,
    image_format: ImageFormat,
) -> None:
    """Send an image.

    Args:
        generic_raw_image_header: the model, how the image becomes its input, and the number that the results carry. It
            is copied; its ``image_format`` is set, and so are ``width`` and ``height`` if the image is an array.
        image: uint8[height, width, 2] of 16 bits a pixel, [height, width, 4] for RGBA8888, [height, width] for RAW8 or
            [height * 3 / 2, width] for YUV420; or bytes, for which the header says width and height.
        image_format: of the image.

    Raises:
        ApiKPException: in this order: `KP_ERROR_INVALID_PARAM_12`, an argument is wrong, the format unknown, or there
            are more than four crop boxes; `KP_ERROR_MODEL_NOT_LOADED_35`; `KP_ERROR_SEND_DATA_TOO_LARGE_15`, it does
            not fit an input buffer; `KP_ERROR_IMAGE_RESOLUTION_TOO_SMALL_22`, width or height is 0;
            `KP_ERROR_INVALID_PARAM_12`, there are fewer bytes than pixels; `KP_ERROR_USB_TIMEOUT_N7`, no buffer became
            free. What is wrong with the image otherwise, the result tells.
    """
    group = registry.group_of(device_group)
    turn = group.turn()
    header = instance("generic_raw_image_header", generic_raw_image_header, GenericRawImageHeader)
    pixels = pixels_of(image, image_format, header.width, header.height)
    if isinstance(image, np.ndarray):
        header.width, header.height = pixels.size
    header.image_format = pixels.format
    group.send(turn, image_job(group, turn, header.model_id, header.inference_number, [(header, pixels)]))


@documented
def generic_raw_inference_receive(
    device_group: DeviceGroup, generic_raw_image_header: GenericRawImageHeader, model_nef_descriptor: ModelNefDescriptor
) -> GenericRawResult:
    """Receive the next result; an image with crop boxes has one for each.

    Args:
        generic_raw_image_header: tells the model.
        model_nef_descriptor: tells how large a result of the model is.

    Raises:
        ApiKPException: `KP_ERROR_INVALID_PARAM_12`, an argument is wrong; `KP_ERROR_USB_TIMEOUT_N7`, there was no
            result in time. Otherwise a result is taken: what the firmware would say, which is
            `KP_ERROR_IMAGE_ODD_WIDTH_23`, `KP_ERROR_IMAGE_INVALID_HEIGHT_45`, `KP_FW_INVALID_INPUT_CROP_PARAM_112`,
            `KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107`, `KP_FW_NOT_SUPPORT_PREPROCESSING_108`,
            `KP_FW_INFERENCE_ERROR_101` or `KP_FW_DDR_MALLOC_FAILED_102`; `KP_ERROR_RECEIVE_JOB_ID_MISMATCH_32`, what
            was sent was no image; `KP_ERROR_USB_OVERFLOW_N8`, it is larger than the descriptor says, or the descriptor
            lacks the model.
    """
    header = instance("generic_raw_image_header", generic_raw_image_header, GenericRawImageHeader)
    return _receive_raw(device_group, header.model_id, model_nef_descriptor, IMAGE_JOB, GenericRawResult)


@documented
def generic_raw_inference_bypass_pre_proc_send(
    device_group: DeviceGroup, generic_raw_image_header: GenericRawBypassPreProcImageHeader, image_buffer: bytes
) -> None:
    """Send what is the input of a model already, in the layout of the device.

    Args:
        generic_raw_image_header: the model, the size of the buffer, and the number that the result carries; copied.
        image_buffer: the int8 of a pixel together, red, green, blue and one more, rows filled up to 16 (KL520) or 4
            (KL720) pixels.

    Raises:
        ApiKPException: in this order: `KP_ERROR_INVALID_PARAM_12`, an argument is wrong, or the buffer is shorter than
            the header says; `KP_ERROR_MODEL_NOT_LOADED_35`; `KP_ERROR_SEND_DATA_TOO_LARGE_15`;
            `KP_ERROR_USB_TIMEOUT_N7`, no buffer became free. That its size is not that of the input, the result tells.
    """
    group = registry.group_of(device_group)
    turn = group.turn()
    header = instance("generic_raw_image_header", generic_raw_image_header, GenericRawBypassPreProcImageHeader)
    buffer = _buffer("image_buffer", image_buffer)
    if not 0 < header.image_buffer_size <= len(buffer):
        raise wrong("image_buffer_size", f"1 to the {len(buffer)} bytes of the buffer", header.image_buffer_size)
    buffers = [buffer[: header.image_buffer_size]]
    group.send(turn, data_job(group, turn, header.model_id, header.inference_number, buffers))


@documented
def generic_raw_inference_bypass_pre_proc_receive(
    device_group: DeviceGroup,
    generic_raw_image_header: GenericRawBypassPreProcImageHeader,
    model_nef_descriptor: ModelNefDescriptor,
) -> GenericRawBypassPreProcResult:
    """Receive the next result of what bypassed preprocessing.
    Raises ApiKPException: as `generic_raw_inference_receive`."""
    header = instance("generic_raw_image_header", generic_raw_image_header, GenericRawBypassPreProcImageHeader)
    return _receive_raw(device_group, header.model_id, model_nef_descriptor, DATA_JOB, GenericRawBypassPreProcResult)


@documented
def generic_image_inference_send(
    device_group: DeviceGroup, generic_inference_input_descriptor: GenericImageInferenceDescriptor
) -> None:
    """Send an image for each input of a model, as API 2.x does.
    Raises ApiKPException: in this order: `KP_ERROR_INVALID_PARAM_12`, the model has another number of inputs;
    `KP_ERROR_FIFOQ_INPUT_BUFF_COUNT_NOT_ENOUGH_42`; otherwise as `generic_raw_inference_send`."""
    group = registry.group_of(device_group)
    turn = group.turn()
    name = "generic_inference_input_descriptor"
    descriptor = instance(name, generic_inference_input_descriptor, GenericImageInferenceDescriptor)
    images = [
        (node, pixels_of(node.image, node.image_format, node.width, node.height))
        for node in descriptor.input_node_image_list
    ]
    group.send(turn, image_job(group, turn, descriptor.model_id, descriptor.inference_number, images))


@documented
def generic_image_inference_receive(device_group: DeviceGroup) -> GenericImageInferenceResult:
    """Receive the next result of images, as API 2.x does.
    Raises ApiKPException: as `generic_raw_inference_receive`."""
    result = _receive(device_group, IMAGE_JOB)
    return _filled(GenericImageInferenceResult(len(result.raw)), result)


@documented
def generic_data_inference_send(
    device_group: DeviceGroup, generic_inference_input_descriptor: GenericDataInferenceDescriptor
) -> None:
    """Send the data of each input of a model in the layout of the device, as API 2.x does.
    Raises ApiKPException: in this order: `KP_ERROR_INVALID_PARAM_12`, the model has another number of inputs;
    `KP_ERROR_FIFOQ_INPUT_BUFF_COUNT_NOT_ENOUGH_42`; otherwise as `generic_raw_inference_bypass_pre_proc_send`."""
    group = registry.group_of(device_group)
    turn = group.turn()
    name = "generic_inference_input_descriptor"
    descriptor = instance(name, generic_inference_input_descriptor, GenericDataInferenceDescriptor)
    buffers = [_buffer("buffer", node.buffer) for node in descriptor.input_node_data_list]
    group.send(turn, data_job(group, turn, descriptor.model_id, descriptor.inference_number, buffers))


@documented
def generic_data_inference_receive(device_group: DeviceGroup) -> GenericDataInferenceResult:
    """Receive the next result of data, as API 2.x does.
    Raises ApiKPException: as `generic_raw_inference_receive`."""
    result = _receive(device_group, DATA_JOB)
    return _filled(GenericDataInferenceResult(len(result.raw)), result)


@documented
def generic_inference_retrieve_fixed_node(
    node_idx: int, generic_raw_result: GenericRawResult, channels_ordering: ChannelOrdering
) -> InferenceFixedNodeOutput:
    """An output of a result as the integers that the device computed.

    Args:
        node_idx: which output, from 0.
        generic_raw_result: what any of the receiving functions returned.
        channels_ordering: the order of dimensions; DEFAULT is HCW for KL520 and CHW for KL720.

    Raises:
        ApiKPException: `KP_ERROR_INVALID_PARAM_12`, there is no such output, or an argument is wrong;
            `KP_ERROR_RECEIVE_INCORRECT_HEADER_STAMP_30` or `KP_ERROR_RECEIVE_SIZE_MISMATCH_31`, these are not the bytes
            of a result.
    """
    return fixed_node(node_idx, generic_raw_result, channels_ordering)


@documented
def generic_inference_retrieve_float_node(
    node_idx: int, generic_raw_result: GenericRawResult, channels_ordering: ChannelOrdering
) -> InferenceFloatNodeOutput:
    """An output of a result as real numbers in float32: each integer divided by scale * 2 ** radix.
    Raises ApiKPException: as `generic_inference_retrieve_fixed_node`."""
    return float_node(node_idx, generic_raw_result, channels_ordering)


@documented
def set_inference_configuration(device_group: DeviceGroup, inference_configuration: InferenceConfiguration) -> None:
    """Say whether sending makes room by dropping the image that has waited longest, instead of waiting itself.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, this is no configuration."""
    group = registry.group_of(device_group)
    configuration = instance("inference_configuration", inference_configuration, InferenceConfiguration)
    group.set_frame_drop(configuration.enable_frame_drop)


def _buffer(name: str, value: object) -> np.ndarray:
    """Data of a program as uint8[bytes], a copy; arrays of bytes are taken as well."""
    if isinstance(value, np.ndarray) and value.dtype.itemsize == 1:
        value = value.tobytes()
    return np.frombuffer(argument(name, value, content()), np.uint8)


def _receive_raw(handle: DeviceGroup, model_id: int, descriptor: object, job: int, kind: type[R]) -> R:
    """The next result in an object of API 1.x, with as much room as the descriptor tells."""
    models = instance("model_nef_descriptor", descriptor, ModelNefDescriptor).models
    room = next((model.max_raw_out_size for model in models if model.id == model_id), -1)
    result = _receive(handle, job)
    if len(result.raw) > room:
        raise Refusal(
            ApiReturnCode.KP_ERROR_USB_OVERFLOW_N8,
            "the result is larger than what is known of the model",
            expected=f"{len(result.raw)} bytes, of model {result.job.model.id}",
            found=f"{room}, of model {model_id}" if room >= 0 else f"no model {model_id} in model_nef_descriptor",
        )
    return _filled(kind(room), result)


def _receive(handle: DeviceGroup, job: int) -> Result:
    result = registry.group_of(handle).receive()
    if result.error is not None:
        raise result.error
    if result.job.kind != job:
        image = "an image, which generic_raw_inference_receive or generic_image_inference_receive takes"
        data = "data, which the receiving functions for data and for bypassed preprocessing take"
        raise Refusal(
            ApiReturnCode.KP_ERROR_RECEIVE_JOB_ID_MISMATCH_32,
            "the result is of something else",
            found=image if result.job.kind == IMAGE_JOB else data,
        )
    return result


def _filled(received: R, result: Result) -> R:
    header: Any = received.header
    header.inference_number = result.job.inference_number
    header.crop_number = result.crop_number
    header.num_output_node = len(result.job.model.outputs)
    header.product_id = result.job.model.product.id
    infos = [_info(prepared, crop) for prepared, crop in zip(result.prepared, result.crops, strict=False)]
    if isinstance(received, GenericImageInferenceResult):
        header.hw_pre_proc_info_list = infos
    elif infos:
        header.hw_pre_proc_info = infos[0]
    received.raw_result.data = result.raw
    return received


def _info(prepared: Prepared, crop: Crop | None) -> HwPreProcInfo:
    """How an image became an input."""
    taken, (size, top, bottom, left, right) = prepared.taken, prepared.placement
    height, width = prepared.values.shape[2:]
    return HwPreProcInfo(
        img_width=taken.width,
        img_height=taken.height,
        resized_img_width=size.width,
        resized_img_height=size.height,
        pad_top=top,
        pad_bottom=bottom,
        pad_left=left,
        pad_right=right,
        model_input_width=width,
        model_input_height=height,
        crop_area=InferenceCropBox() if crop is None else InferenceCropBox(crop.number, *taken),
    )
