"""Values that describe models. They hold the facts of API 1.3 and those of 2.x side by side."""

from __future__ import annotations

from dataclasses import dataclass

from ..enums import (
    ImageFormat,
    ModelTargetChip,
    ModelTensorDataLayout,
    ModelTensorShapeInformationVersion,
    QuantizationParametersVersion,
)
from ..members import Member, Value, enumeration, integer, integers, item, items, number, signed, text


@dataclass(repr=False, eq=False)
class QuantizedFixedPointDescriptor(Value):
    """How fixed-point numbers become real: real = fixed / (scale * 2 ** radix).

    Attributes:
        scale: 1 for inputs.
        radix: binary digits after the point; may be negative.
    """

    scale: Member[float] = number(0.0)
    radix: Member[int] = signed(0)


@dataclass(repr=False, eq=False)
class QuantizationParametersV1(Value):
    """The quantisation of a tensor, as API 3.x tells it.

    Attributes:
        quantized_axis: the dimension that several descriptors run along.
        quantized_fixed_point_descriptor_list: one for the tensor.
    """

    quantized_axis: Member[int] = integer(0)
    quantized_fixed_point_descriptor_list: Member[list[QuantizedFixedPointDescriptor]] = items(
        QuantizedFixedPointDescriptor
    )


@dataclass(repr=False, eq=False)
class QuantizationParameters(Value):
    """The quantisation of a tensor.

    Attributes:
        quantized_fixed_point_descriptor_list: one for the tensor.
    """

    quantized_fixed_point_descriptor_list: Member[list[QuantizedFixedPointDescriptor]] = items(
        QuantizedFixedPointDescriptor
    )

    @property
    def version(self) -> QuantizationParametersVersion:
        """The form that API 3.x tells it in."""
        return QuantizationParametersVersion.KP_MODEL_QUANTIZATION_PARAMS_VERSION_1

    @property
    def v1(self) -> QuantizationParametersV1:
        """The same as API 3.x tells it."""
        return QuantizationParametersV1(0, self.quantized_fixed_point_descriptor_list)


@dataclass(repr=False, eq=False)
class TensorShapeInfoV1(Value):
    """The shape of a tensor, as API 3.x tells it.

    Attributes:
        shape_npu: N, C, H, W.
        shape_onnx: as the source model has it.
        axis_permutation_onnx_to_npu: which dimension of the latter each of the former is.
    """

    shape_npu: Member[list[int]] = integers()
    shape_onnx: Member[list[int]] = integers()
    axis_permutation_onnx_to_npu: Member[list[int]] = integers()


@dataclass(repr=False, eq=False)
class TensorShapeInfo(Value):
    """The shape of a tensor in API 3.x.

    Attributes:
        version: 1.
        v1: the shape.
    """

    version: Member[ModelTensorShapeInformationVersion] = enumeration(
        ModelTensorShapeInformationVersion.KP_MODEL_TENSOR_SHAPE_INFO_VERSION_1
    )
    v1: Member[TensorShapeInfoV1] = item(TensorShapeInfoV1)


@dataclass(repr=False, eq=False)
class TensorDescriptor(Value):
    """An input or output of a model.

    Attributes:
        index: its number.
        name: as the source model has it.
        shape_npu: N, C, H, W.
        shape_onnx: as the source model has it.
        data_layout: how it lies in the memory of the device.
        quantization_parameters: how its integers become real numbers.
    """

    index: Member[int] = integer(0)
    name: Member[str] = text("")
    shape_npu: Member[list[int]] = integers()
    shape_onnx: Member[list[int]] = integers()
    data_layout: Member[ModelTensorDataLayout] = enumeration(ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_UNKNOWN)
    quantization_parameters: Member[QuantizationParameters] = item(QuantizationParameters)

    @property
    def tensor_shape_info(self) -> TensorShapeInfo:
        """The shapes as API 3.x tells them."""
        axes = list(range(len(self.shape_onnx)))
        return TensorShapeInfo(v1=TensorShapeInfoV1(self.shape_npu, self.shape_onnx, axes))


@dataclass(repr=False, eq=False)
class _SchemaVersion(Value):
    """The version of a schema, which JSON has as text such as "1.2.0".

    Attributes:
        major, minor, revision: its parts.
    """

    major: Member[int] = integer(0)
    minor: Member[int] = integer(0)
    revision: Member[int] = integer(0)

    def get_member_variable_dict(self) -> dict:
        """The version as one text."""
        return {"version": f"{self.major}.{self.minor}.{self.revision}"}


class NefSchemaVersion(_SchemaVersion):
    """Of the container of models."""


class SetupSchemaVersion(_SchemaVersion):
    """Of the setup record of a model."""


class SetupFileSchemaVersion(_SchemaVersion):
    """Of the file that the setup record came from."""


@dataclass(repr=False, eq=False)
class ModelNefMetadata(Value):
    """What a container says of itself.

    Attributes:
        kn_number: serial number of the device that it is encrypted for; 0 for none.
        toolchain_version, compiler_version: what made it.
        nef_schema_version: of its form.
        platform: the kind of device.
    """

    kn_number: Member[int] = integer(0, is_hexadecimal=True)
    toolchain_version: Member[str] = text("")
    compiler_version: Member[str] = text("")
    nef_schema_version: Member[NefSchemaVersion] = item(NefSchemaVersion)
    platform: Member[str] = text("")


@dataclass(repr=False, eq=False)
class SingleModelDescriptor(Value):
    """A model.

    Attributes:
        id: by which inferences name it.
        max_raw_out_size: bytes of a raw result.
        width, height, channel: of its input.
        img_format: of its input.
        target_chip: the device that it is for.
        version: of the model.
        input_nodes, output_nodes: its inputs and outputs, in order.
        setup_schema_version, setup_file_schema_version: of its setup record.
    """

    id: Member[int] = integer(0)
    max_raw_out_size: Member[int] = integer(0)
    width: Member[int] = integer(0)
    height: Member[int] = integer(0)
    channel: Member[int] = integer(0)
    img_format: Member[ImageFormat] = enumeration(ImageFormat.KP_IMAGE_FORMAT_RGBA8888)
    target_chip: Member[ModelTargetChip] = enumeration(ModelTargetChip.KP_MODEL_TARGET_CHIP_UNKNOWN)
    version: Member[int] = integer(0, is_hexadecimal=True)
    input_nodes: Member[list[TensorDescriptor]] = items(TensorDescriptor)
    output_nodes: Member[list[TensorDescriptor]] = items(TensorDescriptor)
    setup_schema_version: Member[SetupSchemaVersion] = item(SetupSchemaVersion)
    setup_file_schema_version: Member[SetupFileSchemaVersion] = item(SetupFileSchemaVersion)


@dataclass(repr=False, eq=False)
class ModelNefDescriptor(Value):
    """What a container of models, which a device has loaded, holds.

    Attributes:
        crc: checksum of the container.
        num_models: how many models there are.
        models: in the order of the container.
        magic: 0x5AA55AA5.
        metadata: what the container says of itself.
        target_chip: the device that all models are for.
    """

    crc: Member[int] = integer(0, is_hexadecimal=True)
    num_models: Member[int] = integer(0)
    models: Member[list[SingleModelDescriptor]] = items(SingleModelDescriptor)
    magic: Member[int] = integer(0, is_hexadecimal=True)
    metadata: Member[ModelNefMetadata] = item(ModelNefMetadata)
    target_chip: Member[ModelTargetChip] = enumeration(ModelTargetChip.KP_MODEL_TARGET_CHIP_UNKNOWN)
