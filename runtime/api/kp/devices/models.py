"""Models on a device, ready to run, and what the API tells of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.errors import TilewrightError, UsageError
from tilewright.immutable import Immutable

from ....artifact.artifact import Artifact
from ....containers.files import read_container
from ....containers.records import ContainedModel, ContainedTensor, Container
from ....execution.device import check_machine
from ....machines.machine import Machine
from ...network import open_session
from ..enums import ApiReturnCode, ModelTargetChip, ModelTensorDataLayout
from ..exceptions import Refusal
from ..raw_results import raw_size
from ..values.descriptors import (
    ModelNefDescriptor,
    ModelNefMetadata,
    NefSchemaVersion,
    QuantizationParameters,
    QuantizedFixedPointDescriptor,
    SingleModelDescriptor,
    TensorDescriptor,
)
from .device import DeviceKind

MAGIC = 0x5AA55AA5


def describe_container(container: Container, sizes: Sequence[int], chip: ModelTargetChip) -> ModelNefDescriptor:
    """The descriptor of a container.
    ``sizes``: bytes of a raw result of each model.
    ``chip``: which it is for."""
    models: list[SingleModelDescriptor] = []
    for model, size in zip(container.models, sizes, strict=True):
        _, channels, height, width = model.inputs[0].shape
        models.append(
            SingleModelDescriptor(
                id=model.id,
                max_raw_out_size=size,
                width=width,
                height=height,
                channel=channels,
                target_chip=chip,
                input_nodes=[_tensor(index, node, _input_layout(node)) for index, node in enumerate(model.inputs)],
                output_nodes=[
                    _tensor(index, node, ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_16W1C8B)
                    for index, node in enumerate(model.outputs)
                ],
            )
        )
    metadata = ModelNefMetadata(
        toolchain_version=container.toolchain,
        nef_schema_version=NefSchemaVersion(*container.schema),
        platform=container.target,
    )
    return ModelNefDescriptor(
        crc=container.crc, num_models=len(models), models=models, magic=MAGIC, metadata=metadata, target_chip=chip
    )


def _input_layout(node: ContainedTensor) -> ModelTensorDataLayout:
    channels = node.shape[1]
    if channels == 1:
        return ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_16W1C8B
    if channels <= 4:
        return ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_4W4C8B
    return ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_1W16C8B


def _tensor(index: int, node: ContainedTensor, layout: ModelTensorDataLayout) -> TensorDescriptor:
    quantization = QuantizationParameters([QuantizedFixedPointDescriptor(node.scale, node.radix)])
    shape = list(node.shape)
    source = list(node.source_shape) or shape
    return TensorDescriptor(index, node.name, shape, source, layout, quantization)


class LoadedModel:
    """A model of a container, loaded for a product.

    Attributes:
        id: by which programs name it.
        inputs, outputs: its nodes.
        product: what it runs on.
        raw_size: bytes of a raw result.
    """

    def __init__(self, model: ContainedModel, product: DeviceKind, machine: Machine | None) -> None:
        artifact = Artifact.open(model.artifact)
        if machine is not None and "device" in artifact.manifest.engines:
            check_machine(artifact, artifact.manifest.engines["device"], machine)
        self.id = model.id
        self.inputs, self.outputs = model.inputs, model.outputs
        self.product = product
        self.raw_size = raw_size(product.id, model.outputs)
        self._session = open_session(artifact)

    def run(self, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """int8[channel, height, width] of each output, for int8[1, channels, rows, columns] of each input by name."""
        outputs = self._session.run(values)
        return [outputs[node.name].reshape(node.shape[1:]) for node in self.outputs]


class Loaded(Immutable):
    """The models of a container on a device.
    ``models``: by their ids.
    ``descriptor``: what the API tells of them."""

    models: Mapping[int, LoadedModel]
    descriptor: ModelNefDescriptor


def load_models(content: bytes, product: DeviceKind, machine: Machine | None) -> Loaded:
    """Load a container.
    Raises Refusal: `KP_ERROR_INVALID_MODEL_21`, it is damaged, or none of ours, or for another product or another
    machine."""
    try:
        container = read_container(content)
        if container.target != product.name:
            raise UsageError(
                "the models are for another kind of device",
                expected=product.name,
                found=container.target,
                hint=f"Connect a {container.target} by its port, or compile them with --kp-target {product.name}.",
            )
        models = {model.id: LoadedModel(model, product, machine) for model in container.models}
    except TilewrightError as error:
        raise Refusal(ApiReturnCode.KP_ERROR_INVALID_MODEL_21, str(error)) from error
    sizes = [models[model.id].raw_size for model in container.models]
    return Loaded(models, describe_container(container, sizes, product.chip))
