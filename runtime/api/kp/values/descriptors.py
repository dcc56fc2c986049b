"""Values that describe devices and models; of models they hold the facts of API 1.3 and of 2.x side by side."""

from __future__ import annotations

from ..enums import ImageFormat, ModelTargetChip, ModelTensorDataLayout, UsbSpeed
from ..members import Member, Value, by_index, enumeration, flag, integer, integers, item, items, number, signed, text


class DeviceDescriptor(Value):
    """A device as a scan finds it.

    Attributes:
        usb_port_id: by which it is connected.
        vendor_id: USB vendor number, 0x3231.
        product_id: USB product number, one of `ProductId`.
        link_speed: HIGH for KL520, SUPER for KL720.
        kn_number: serial number.
        is_connectable: whether no other process holds it.
        usb_port_path: bus and port, such as "1-3".
        firmware: what runs on it, such as "KDP2 Loader".
    """

    usb_port_id: Member[int] = integer(0)
    vendor_id: Member[int] = integer(0, is_hexadecimal=True)
    product_id: Member[int] = integer(0, is_hexadecimal=True)
    link_speed: Member[UsbSpeed] = enumeration(UsbSpeed.KP_USB_SPEED_UNKNOWN)
    kn_number: Member[int] = integer(0, is_hexadecimal=True)
    is_connectable: Member[bool] = flag(False)
    usb_port_path: Member[str] = text("")
    firmware: Member[str] = text("")


class DeviceDescriptorList(Value):
    """The devices of a scan. JSON has them by index.
    ``device_descriptor_list``: in the order of the ports."""

    device_descriptor_list: Member[list[DeviceDescriptor]] = items(DeviceDescriptor)

    @property
    def device_descriptor_number(self) -> int:
        """How many there are."""
        return len(self.device_descriptor_list)

    def get_member_variable_dict(self) -> dict:
        """The descriptors by index."""
        return by_index(self.device_descriptor_list)


class DeviceGroup(Value):
    """Connected devices, which work in turn. A copy is the group itself.
    ``address``: what stands for them; functions know a group by it."""

    address: Member[int] = integer(high=2**64 - 1)

    # The devices are disconnected when nobody has the group any more, as where a configuration that holds it was copied
    # and the copy alone is kept.
    def __copy__(self) -> DeviceGroup:
        return self

    def __deepcopy__(self, memo: object) -> DeviceGroup:
        return self


class FirmwareVersion(Value):
    """The version of a firmware, which JSON has as text such as "1.5.0-build.113".

    Attributes:
        reserved, major, minor, update, build: its parts.
    """

    reserved: Member[int] = integer(0)
    major: Member[int] = integer(0)
    minor: Member[int] = integer(0)
    update: Member[int] = integer(0)
    build: Member[int] = integer(0)

    def get_member_variable_dict(self) -> dict:
        """The version as one text."""
        return {"firmware_version": f"{self.major}.{self.minor}.{self.update}-build.{self.build}"}


class SystemInfo(Value):
    """What a device says of itself.

    Attributes:
        kn_number: serial number.
        firmware_version: of what runs on it.
    """

    kn_number: Member[int] = integer(0, is_hexadecimal=True)
    firmware_version: Member[FirmwareVersion] = item(FirmwareVersion)

    def get_member_variable_dict(self) -> dict:
        """The serial number in hexadecimal digits, and the version as text."""
        return {**super().get_member_variable_dict(), **self.firmware_version.get_member_variable_dict()}


class DdrManageAttributes(Value):
    """How the memory of a device is shared out; what is 0 follows from the models.

    Attributes:
        model_size: bytes for models.
        input_buffer_size, input_buffer_count: bytes of an input buffer, and how many there are.
        result_buffer_size, result_buffer_count: bytes of a result buffer, and how many there are.
    """

    model_size: Member[int] = integer(0)
    input_buffer_size: Member[int] = integer(0)
    input_buffer_count: Member[int] = integer(0)
    result_buffer_size: Member[int] = integer(0)
    result_buffer_count: Member[int] = integer(0)


class QuantizedFixedPointDescriptor(Value):
    """How fixed-point numbers become real: real = fixed / (scale * 2 ** radix).

    Attributes:
        scale: 1 for inputs.
        radix: binary digits after the point; may be negative.
    """

    scale: Member[float] = number(0.0)
    radix: Member[int] = signed(0)


class QuantizationParameters(Value):
    """The quantisation of a tensor.
    ``quantized_fixed_point_descriptor_list``: one for the tensor."""

    quantized_fixed_point_descriptor_list: Member[list[QuantizedFixedPointDescriptor]] = items(
        QuantizedFixedPointDescriptor
    )

    @property
    def v1(self) -> QuantizationParameters:
        """The same, where programs of API 3.x look for it."""
        return self


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
    def tensor_shape_info(self) -> TensorDescriptor:
        """The shapes, where programs of API 3.x look for them."""
        return self

    v1 = tensor_shape_info


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


__all__ = ["DdrManageAttributes", "DeviceDescriptor", "DeviceDescriptorList", "DeviceGroup", "FirmwareVersion"]
__all__ += ["ModelNefDescriptor", "ModelNefMetadata", "NefSchemaVersion", "QuantizationParameters"]
__all__ += ["QuantizedFixedPointDescriptor", "SetupFileSchemaVersion", "SetupSchemaVersion", "SingleModelDescriptor"]
__all__ += ["SystemInfo", "TensorDescriptor"]
