"""What the API tells of a container of models."""

from __future__ import annotations

from collections.abc import Sequence

from ..container.model import Container, Node
from ..enums import ModelTargetChip, ModelTensorDataLayout
from ..values.models import (
    ModelNefDescriptor,
    ModelNefMetadata,
    NefSchemaVersion,
    QuantizationParameters,
    QuantizedFixedPointDescriptor,
    SingleModelDescriptor,
    TensorDescriptor,
)

MAGIC = 0x5AA55AA5


def describe_container(container: Container, sizes: Sequence[int], chip: ModelTargetChip) -> ModelNefDescriptor:
    """The descriptor of a container.

    Args:
        sizes: bytes of a raw result of each model.
        chip: which it is for.
    """
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


def _input_layout(node: Node) -> ModelTensorDataLayout:
    channels = node.shape[1]
    if channels == 1:
        return ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_16W1C8B
    if channels <= 4:
        return ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_4W4C8B
    return ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_1W16C8B


def _tensor(index: int, node: Node, layout: ModelTensorDataLayout) -> TensorDescriptor:
    quantization = QuantizationParameters([QuantizedFixedPointDescriptor(node.scale, node.radix)])
    shape = list(node.shape)
    source = list(node.source_shape) or shape
    return TensorDescriptor(index, node.name, shape, source, layout, quantization)
