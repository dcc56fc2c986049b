"""What is done to inputs before the first layer: (x - mean) / scale, for each channel its own."""

from collections.abc import Collection, Sequence

import numpy as np

from ....ir.core import Value
from ....ir.ops.elementwise import Div, Sub
from ....ir.types import DType
from ..builder import ModuleBuilder, SourceNode
from ..shape import cast
from .document import Channel, PreProcess

_NARROW = (DType.U8, DType.I8, DType.U16, DType.I16)
"""What pictures are given in; layers compute in single precision."""


def pre_processed(
    node: SourceNode, importer: ModuleBuilder, x: Value, given: Sequence[PreProcess], inputs: Collection[str]
) -> Value:
    """What the layers read of an input.
    ``x``: [N, C, H, W] where there is anything to do to it.
    Raises ModelError: the channels or the images are not those of the input."""
    if x.type.dtype in _NARROW:
        x = cast(importer, x, DType.F32)
    for each in given:
        if each.channels and each.layer and each.layer not in inputs:
            found = ", ".join(inputs)
            raise node.model_error("the input of the pre-process is missing", expected=each.layer, found=found)
        if each.channels and not each.layer and len(inputs) > 1:
            raise node.model_error("the pre-process names no input", expected=" or ".join(inputs), found="nothing")
    mine = next((each for each in given if each.channels and each.layer in ("", node.name)), None)
    if mine is None:
        return x
    if x.type.rank != 4 or not x.type.dtype.is_float:
        raise node.model_error("a pre-process is for pictures", expected="4 dimensions", found=x.type)
    channels = sorted(mine.channels, key=lambda channel: channel.id)
    if [channel.id for channel in channels] != list(range(x.type.shape[1])):
        raise node.model_error(
            "the pre-process does not name each channel once",
            expected=f"ids from 0 to {x.type.shape[1] - 1}",
            found=[channel.id for channel in channels][:16],
        )
    mean = _means(node, x, channels)
    if np.any(mean):
        x = importer.emit_one(Sub(), x, importer.constant(mean, "mean"))
    scale = np.array([channel.scale for channel in channels], np.float32).reshape(-1, 1, 1)
    if not np.all(np.isfinite(scale) & (scale != 0)):
        raise node.model_error(
            "a scale of the pre-process is out of range", expected="finite, not 0", found=scale.ravel()
        )
    return x if np.all(scale == 1) else importer.emit_one(Div(), x, importer.constant(scale, "scale"))


def _means(node: SourceNode, x: Value, channels: Sequence[Channel]) -> np.ndarray:
    """[C, 1, 1], or [C, H, W] of images."""
    images = [channel.mean for channel in channels if isinstance(channel.mean, np.ndarray)]
    if not images:
        return np.array([channel.mean for channel in channels], np.float32).reshape(-1, 1, 1)
    if len(images) < len(channels):
        raise node.model_error("channels have numbers and images as means", expected="one or the other")
    height, width = x.type.shape[2:]
    wrong = next((image for image in images if image.size != height * width), None)
    if wrong is not None:
        raise node.model_error(
            "a mean image has another size than the input",
            expected=f"{height * width} elements for {height} x {width}",
            found=wrong.size,
            hint="Mean images fit no other height and width than those of the file.",
        )
    return np.stack(images).astype(np.float32).reshape(-1, height, width)
