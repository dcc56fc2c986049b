"""Detection layers from attributes that all formats call the same; where they differ, the importers say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict
from typing import Any, Protocol

from tilewright.errors import ModelError, UnsupportedError

from ...ir.core import OperatorT, Value
from ...ir.op import attribute_types
from ...ir.ops.detection.detection_output import CODES, DetectionOutput
from ...ir.ops.detection.priors import PriorBox, PriorBoxClustered
from ...ir.ops.detection.proposal import Proposal
from ...ir.ops.detection.region_pooling import PsroiPool, RoiAlign, RoiPool
from .builder import ModuleBuilder
from .shape import reshape

Extents = tuple[int, int]


class DetectionNode(Protocol):
    """What a node of any format tells of its attributes; a default of ``None`` marks those that must be given."""

    def input(self, index: int) -> Value: ...
    def all_inputs(self) -> list[Value]: ...
    def has(self, name: str) -> bool: ...
    def int(self, name: str, default: int | None = None) -> int: ...
    def float(self, name: str, default: float | None = None) -> float: ...
    def bool(self, name: str, default: bool | None = None) -> bool: ...
    def floats(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]: ...
    def word(self, name: str, default: str | None = None) -> str: ...
    def model_error(self, message: str, **details: Any) -> ModelError: ...
    def unsupported(self, message: str, **details: Any) -> UnsupportedError: ...


def extents_of(node: DetectionNode, x: Value) -> Extents:
    """Height and width of a tensor [N, C, H, W]. Raises ModelError: it has another rank."""
    if x.type.rank != 4:
        raise node.model_error("feature map and image need four dimensions", expected="[N, C, H, W]", found=x.type)
    return x.type.shape[2], x.type.shape[3]


def _operator(cls: type[OperatorT], node: DetectionNode, **given: Any) -> OperatorT:
    """An operator whose attributes have the names and defaults of those of a node, but for those that are given."""
    types = attribute_types(cls)
    for field in cls.attributes():
        if field.name not in given:
            default = None if field.default is MISSING else field.default
            given[field.name] = _READERS[types[field.name]](node, field.name, default)
    return cls(**given)


_READERS: dict[object, Callable[[DetectionNode, str, Any], object]] = {
    bool: lambda node, name, default: node.bool(name, default),
    float: lambda node, name, default: node.float(name, default),
    int: lambda node, name, default: node.int(name, default),
    tuple[float, ...]: lambda node, name, default: node.floats(name, default),
}


def prior_box(node: DetectionNode, grid: Extents, image: Extents, *, offset: float | None) -> PriorBox:
    """The operator of a node ``PriorBox``. ``offset``: the default of the format; ``None`` if it must be given."""
    even = (1.0,) * len(node.floats("fixed_size", ()))
    density = tuple(map(int, node.floats("density", even) or even))
    given = {"variance": node.floats("variance", ()), "min_size": node.floats("min_size", ()), "density": density}
    given |= {"clip": node.bool("clip", False), "offset": node.float("offset", offset)}
    return _operator(PriorBox, node, grid=grid, image=image, **given)


def prior_box_clustered(
    node: DetectionNode, grid: Extents, image: Extents, *, offset: float | None, clip: bool = False
) -> PriorBoxClustered:
    """The operator of a node ``PriorBoxClustered``; see :func:`prior_box`."""
    step = node.float("step", 0.0)
    given = {name: node.float(name, 0.0) or step for name in ("step_w", "step_h")}
    given |= {"variance": node.floats("variance", ()), "clip": node.bool("clip", clip)}
    return _operator(PriorBoxClustered, node, grid=grid, image=image, offset=node.float("offset", offset), **given)


def detection_output(
    node: DetectionNode,
    importer: ModuleBuilder,
    *,
    keep_top_k: int,
    normalized: bool = True,
    threshold: float = 0.0,
    is_cut: bool = False,
) -> Value:
    """What a node ``DetectionOutput`` finds, [1, 1, rows, 7].
    ``operands``: the three or five inputs; whatever their ranks, they count as those that the operator takes.
    ``normalized``, ``threshold``: defaults of the format, the latter of the confidence.
    ``is_cut``: boxes are cut at the borders of the image before they compete, whatever the attribute says.
    Raises ModelError: the number of inputs or of classes is wrong, or a code unknown."""
    operands = node.all_inputs()
    if len(operands) not in (3, 5):
        raise node.model_error("wrong number of inputs", expected="3 or 5", found=len(operands))
    location, confidence, priors, *others = operands
    images = location.type.shape[0]
    flat = [_flat(importer, x, images) for x in (location, confidence)]
    rows = priors.type.shape[1] if priors.type.rank > 1 else 0
    shape = (priors.type.shape[0], rows, math.prod(priors.type.shape[2:]))
    code = node.word("code_type", CODES[0]).rpartition(".")[2]
    if code not in CODES:
        raise node.unsupported("unknown code_type", expected=", ".join(CODES), found=code)
    operator = _operator(
        DetectionOutput,
        node,
        confidence_threshold=node.float("confidence_threshold", threshold),
        keep_top_k=keep_top_k,
        code_type=code,
        normalized=node.bool("normalized", normalized),
        clip_before_nms=is_cut or node.bool("clip_before_nms", False),
    )
    inputs = [*flat, reshape(importer, priors, shape), *(_flat(importer, x, images) for x in others)]
    counts = operator.counts(*(x.type for x in inputs[:3]))
    if node.has("num_classes") and node.int("num_classes") != counts.classes:
        raise node.model_error("wrong number of classes", expected=node.int("num_classes"), found=counts.classes)
    return importer.emit_one(operator, *inputs)


def _flat(importer: ModuleBuilder, x: Value, images: int) -> Value:
    return reshape(importer, x, (images, x.type.elements // max(images, 1)))


def roi_pool(node: DetectionNode, importer: ModuleBuilder) -> Value:
    """What a node ``ROIPooling`` makes of feature map and regions."""
    height, width = node.floats("output_size", ()) or (node.int("pooled_h"), node.int("pooled_w"))
    size = int(height), int(width)
    mode = node.word("method", "max")
    if mode not in ("max", "bilinear"):
        raise node.unsupported("unknown method", expected="max or bilinear", found=mode)
    return _pooled(importer, RoiPool(node.float("spatial_scale"), size, mode), [node.input(0), node.input(1)])


def psroi_pool(node: DetectionNode, importer: ModuleBuilder) -> Value:
    """What a node ``PSROIPooling`` makes of feature map and regions."""
    mode, operands = node.word("mode", "average"), node.all_inputs()
    if mode not in ("average", "bilinear") or len(operands) != 2:
        raise node.unsupported("unknown mode", expected="average or bilinear, of two inputs", found=mode)
    bins = node.int("spatial_bins_y", 1), node.int("spatial_bins_x", 1)
    operator = PsroiPool(node.float("spatial_scale"), node.int("output_dim"), node.int("group_size"), mode, bins)
    return _pooled(importer, operator, operands)


def _pooled(importer: ModuleBuilder, operator: RoiPool | PsroiPool, operands: Sequence[Value]) -> Value:
    x, regions = operands
    return importer.emit_one(operator, x, reshape(importer, regions, (regions.type.elements // 5, 5)))


def proposal(node: DetectionNode, importer: ModuleBuilder) -> list[Value]:
    """Regions and scores that a node ``Proposal`` finds."""
    framework = node.word("framework", "")
    if framework not in ("", "caffe", "tensorflow"):
        raise node.unsupported("unknown framework", expected="tensorflow, or none", found=framework)
    operator = _operator(Proposal, node, is_tensorflow=framework == "tensorflow")
    return list(importer.emit(operator, *(node.input(index) for index in range(3))))


def pooled_attributes(operator: RoiPool | RoiAlign) -> dict[str, Any]:
    """The size of what is pooled over a region and its scale, which several layers spell so."""
    height, width = operator.size
    return {"pooled_h": height, "pooled_w": width, "spatial_scale": operator.spatial_scale}


def psroi_pool_attributes(operator: PsroiPool) -> dict[str, Any]:
    """The attributes of a node ``PSROIPooling``."""
    attributes = asdict(operator)
    rows, columns = attributes.pop("bins")
    return attributes | {"spatial_bins_y": rows, "spatial_bins_x": columns}


def detection_output_attributes(operator: DetectionOutput) -> dict[str, Any]:
    """The attributes of a node ``DetectionOutput``."""
    return asdict(operator) | {"code_type": f"caffe.PriorBoxParameter.{operator.code_type.upper()}"}


def proposal_attributes(operator: Proposal) -> dict[str, Any]:
    """The attributes of a node ``Proposal``."""
    attributes = asdict(operator)
    return attributes | {"framework": "tensorflow" if attributes.pop("is_tensorflow") else ""}
