"""Detection layers of IR: priors, proposals, pooling over regions, what detectors found, the last layers of YOLO."""

from __future__ import annotations

import math

from tilewright.errors import UnsupportedError

from .....ir.core import Op, Value
from .....ir.ops.detection_output import DetectionOutput
from .....ir.ops.elementwise import Mul
from .....ir.ops.normalization import NormalizeL2
from .....ir.ops.priors import PriorBox, PriorBoxClustered, Priors
from .....ir.ops.proposal import Proposal
from .....ir.ops.region_pooling import PsroiPool, RoiAlign, RoiPool
from .....ir.ops.yolo import RegionYolo, ReorgYolo
from ...detection import (
    Extents,
    detection_output,
    detection_output_attributes,
    extents_of,
    prior_box,
    prior_box_clustered,
    proposal,
    proposal_attributes,
    psroi_pool,
    roi_pool,
)
from ...shape import reshape
from ..exporter import IrExporter, exports
from ..importer import IrImporter, IrNode, legacy, opset, weights

LOWEST = -3.4028234663852886e38
"""The threshold that every score exceeds; readers of the time know no infinity."""


def _extents(node: IrNode, index: int, what: str) -> Extents:
    found = node.integers(index, what)
    if len(found) != 2:
        raise node.model_error(f"{what} is a height and a width", expected="2 integers", found=list(found))
    return found[0], found[1]


@opset("PriorBox")
def import_prior_box(node: IrNode, importer: IrImporter) -> Value:
    grid, image = _extents(node, 0, "the output size"), _extents(node, 1, "the image size")
    return importer.emit_one(prior_box(node, grid, image, offset=None))


@opset("PriorBoxClustered")
def import_prior_box_clustered(node: IrNode, importer: IrImporter) -> Value:
    grid, image = _extents(node, 0, "the output size"), _extents(node, 1, "the image size")
    return importer.emit_one(prior_box_clustered(node, grid, image, offset=None, clip=True))


@exports(PriorBox)
def export_prior_box(op: Op[PriorBox], exporter: IrExporter) -> None:
    operator = op.operator
    exporter.write_as(
        op,
        "PriorBox",
        _sizes(operator, exporter),
        opset=8,
        min_size=operator.min_size,
        max_size=operator.max_size,
        aspect_ratio=operator.aspect_ratio,
        density=operator.density,
        fixed_ratio=operator.fixed_ratio,
        fixed_size=operator.fixed_size,
        clip=operator.clip,
        flip=operator.flip,
        step=operator.step,
        offset=operator.offset,
        variance=operator.variance,
        scale_all_sizes=operator.scale_all_sizes,
        min_max_aspect_ratios_order=operator.min_max_aspect_ratios_order,
    )


@exports(PriorBoxClustered)
def export_prior_box_clustered(op: Op[PriorBoxClustered], exporter: IrExporter) -> None:
    operator = op.operator
    exporter.write_as(
        op,
        "PriorBoxClustered",
        _sizes(operator, exporter),
        width=operator.width,
        height=operator.height,
        clip=operator.clip,
        step=0.0,
        step_w=operator.step_w,
        step_h=operator.step_h,
        offset=operator.offset,
        variance=operator.variance,
    )


def _sizes(operator: Priors, exporter: IrExporter) -> list:
    return [exporter.integers(operator.grid, "grid"), exporter.integers(operator.image, "image")]


@opset("DetectionOutput")
def import_detection_output(node: IrNode, importer: IrImporter) -> Value:
    operands = [node.input(index) for index in range(len(node.inputs))]
    keep_top_k = node.ints("keep_top_k")
    if not keep_top_k:
        raise node.model_error("attribute 'keep_top_k' is empty")
    return detection_output(node, importer, operands, keep_top_k=keep_top_k[0], normalized=False)


@exports(DetectionOutput)
def export_detection_output(op: Op[DetectionOutput], exporter: IrExporter) -> None:
    attributes = detection_output_attributes(op.operator)
    attributes["confidence_threshold"] = max(op.operator.confidence_threshold, LOWEST)
    exporter.write_as(op, "DetectionOutput", op.inputs, opset=8, **attributes)


@opset("RegionYolo")
def import_region_yolo(node: IrNode, importer: IrImporter) -> Value:
    return region_yolo(node, importer, node.int("axis", 1), node.int("end_axis", 3))


def region_yolo(node: IrNode, importer: IrImporter, axis: int, end_axis: int) -> Value:
    """What a layer ``RegionYolo`` makes of its input; the axes count from the front or from the back."""
    x = node.input(0)
    is_exclusive = node.bool("do_softmax", True)
    mask = node.ints("mask", ())
    regions = len(mask) if mask and not is_exclusive else node.int("num")
    axes = (node.from_front(each, x.type.rank) for each in (axis, end_axis))
    return importer.emit_one(RegionYolo(regions, node.int("coords"), node.int("classes"), is_exclusive, *axes), x)


@exports(RegionYolo)
def export_region_yolo(op: Op[RegionYolo], exporter: IrExporter) -> None:
    operator = op.operator
    exporter.write_as(
        op,
        "RegionYolo",
        op.inputs,
        anchors=(),
        axis=operator.axis,
        coords=operator.coords,
        classes=operator.classes,
        end_axis=operator.end_axis,
        num=operator.regions,
        do_softmax=operator.do_softmax,
        mask=() if operator.do_softmax else tuple(range(operator.regions)),
    )


@opset("ReorgYolo")
def import_reorg_yolo(node: IrNode, importer: IrImporter) -> Value:
    strides = node.ints("stride")
    if not strides or len(set(strides)) > 1:
        raise node.model_error("the stride is one number", found=list(strides))
    return importer.emit_one(ReorgYolo(strides[0]), node.input(0))


@exports(ReorgYolo)
def export_reorg_yolo(op: Op[ReorgYolo], exporter: IrExporter) -> None:
    exporter.write_as(op, "ReorgYolo", op.inputs, opset=2, stride=op.operator.stride)


@opset("NormalizeL2")
def import_normalize_l2(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axes = sorted({node.from_front(axis, x.type.rank) for axis in node.integers(1, "the axes")})
    mode = node.word("eps_mode", "add")
    if mode not in ("add", "max"):
        raise node.model_error("unknown eps_mode", expected="add or max", found=repr(mode[:60]))
    return importer.emit_one(NormalizeL2(tuple(axes), node.float("eps"), mode), x)


@exports(NormalizeL2)
def export_normalize_l2(op: Op[NormalizeL2], exporter: IrExporter) -> None:
    operator = op.operator
    inputs = [op.operands.x, exporter.integers(operator.axes, "axes")]
    exporter.write_as(op, "NormalizeL2", inputs, eps=operator.epsilon, eps_mode=operator.epsilon_mode)


@opset("Proposal")
def import_proposal(node: IrNode, importer: IrImporter) -> list[Value]:
    """Regions and, since version 4, their scores."""
    return proposal(node, importer, [node.input(index) for index in range(3)])


@exports(Proposal)
def export_proposal(op: Op[Proposal], exporter: IrExporter) -> None:
    exporter.write_as(op, "Proposal", op.inputs, opset=4, **proposal_attributes(op.operator))


@opset("ROIPooling")
@legacy("ROIPooling")
def import_roi_pooling(node: IrNode, importer: IrImporter) -> Value:
    return roi_pool(node, importer, [node.input(0), node.input(1)])


@exports(RoiPool)
def export_roi_pool(op: Op[RoiPool], exporter: IrExporter) -> None:
    operator = op.operator
    height, width = operator.size
    attributes = {"pooled_h": height, "pooled_w": width, "spatial_scale": operator.spatial_scale}
    exporter.write_as(op, "ROIPooling", op.inputs, opset=2, method=operator.mode, **attributes)


@opset("PSROIPooling")
@legacy("PSROIPooling")
def import_psroi_pooling(node: IrNode, importer: IrImporter) -> Value:
    return psroi_pool(node, importer, [node.input(index) for index in range(len(node.inputs))])


@exports(PsroiPool)
def export_psroi_pool(op: Op[PsroiPool], exporter: IrExporter) -> None:
    operator = op.operator
    exporter.write_as(
        op,
        "PSROIPooling",
        op.inputs,
        output_dim=operator.output_dim,
        group_size=operator.group_size,
        spatial_scale=operator.spatial_scale,
        mode=operator.mode,
        spatial_bins_x=operator.bins[1],
        spatial_bins_y=operator.bins[0],
    )


@opset("ROIAlign")
def import_roi_align(node: IrNode, importer: IrImporter) -> Value:
    mode = node.word("mode")
    if mode not in ("avg", "max"):
        raise node.model_error("unknown mode", expected="avg or max", found=repr(mode[:60]))
    operator = RoiAlign(
        (node.int("pooled_h"), node.int("pooled_w")),
        node.int("sampling_ratio"),
        node.float("spatial_scale"),
        "max_interpolated" if mode == "max" else mode,
        node.word("aligned_mode", "asymmetric"),
    )
    return importer.emit_one(operator, *(node.input(index) for index in range(3)))


@exports(RoiAlign)
def export_roi_align(op: Op[RoiAlign], exporter: IrExporter) -> None:
    operator = op.operator
    if operator.mode == "max":
        raise UnsupportedError(
            "IR takes the maximum of interpolated samples, not of their parts", stage="export", op=op.name, node=op.node
        )
    exporter.write_as(
        op,
        "ROIAlign",
        op.inputs,
        opset=9,
        pooled_h=operator.size[0],
        pooled_w=operator.size[1],
        sampling_ratio=operator.sampling_ratio,
        spatial_scale=operator.spatial_scale,
        mode=operator.mode.partition("_")[0],
        aligned_mode=operator.alignment,
    )


legacy("ReorgYolo")(import_reorg_yolo)


def _grid_and_image(node: IrNode) -> tuple[Extents, Extents]:
    """Extents of the feature map and of the picture, of which the layer may state others."""
    grid, (height, width) = extents_of(node, node.input(0)), extents_of(node, node.input(1))
    size = node.int("img_size", 0)
    return grid, (node.int("img_h", size) or height, node.int("img_w", size) or width)


@legacy("PriorBox", "PriorBoxClustered")
def import_legacy_priors(node: IrNode, importer: IrImporter) -> Value:
    """Feature map and picture to boxes and variances, [1, 2, numbers]."""
    grid, image = _grid_and_image(node)
    make = prior_box_clustered if node.op_type.lower() == "priorboxclustered" else prior_box
    y = importer.emit_one(make(node, grid, image, offset=0.5))
    return reshape(importer, y, (1, *y.type.shape))


@legacy("DetectionOutput")
def import_legacy_detection_output(node: IrNode, importer: IrImporter) -> Value:
    """``clip`` is what later versions call ``clip_before_nms``."""
    operands = [node.input(index) for index in range(len(node.inputs))]
    keep_top_k = node.ints("keep_top_k", (-1,))
    if not keep_top_k:
        raise node.model_error("attribute 'keep_top_k' is empty")
    is_cut = node.bool("clip", False)
    return detection_output(node, importer, operands, keep_top_k=keep_top_k[0], threshold=LOWEST, is_cut=is_cut)


@legacy("Normalize")
def import_legacy_normalize(node: IrNode, importer: IrImporter) -> Value:
    """x over its norm, in each place or over the whole image, times a weight: of its channel, or one for all."""
    x = node.input(0)
    if x.type.rank < 2:
        raise node.model_error("the input has no channels", found=x.type)
    axes = range(1, x.type.rank) if node.bool("across_spatial", True) else (1,)
    y = importer.emit_one(NormalizeL2(tuple(axes), node.float("eps", 1e-10)), x)
    channels = 1 if node.bool("channel_shared", True) else x.type.shape[1]
    return importer.emit_one(Mul(), y, weights(node, importer, (channels, *[1] * (x.type.rank - 2))))


@legacy("RegionYolo")
def import_legacy_region_yolo(node: IrNode, importer: IrImporter) -> Value:
    """Files that name no axes say in the shape of the output which dimensions become one."""
    if node.has("axis"):
        return region_yolo(node, importer, node.int("axis"), node.int("end_axis", -1))
    y = region_yolo(node, importer, 1, 1)
    shape = (y.type.shape[0], *node.output_shape()[1:])
    return reshape(importer, y, shape) if math.prod(shape) == y.type.elements else y


@legacy("Proposal")
def import_legacy_proposal(node: IrNode, importer: IrImporter) -> list[Value]:
    """Regions and, if a file wants them, their scores."""
    scores, deltas, image = (node.input(index) for index in range(3))
    if image.type.rank > 2:
        image = reshape(importer, image, (image.type.elements,))
    return proposal(node, importer, [scores, deltas, image])
