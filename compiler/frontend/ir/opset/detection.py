"""Detection layers of IR of version 10 and later: priors, what detectors found, and the last layers of YOLO."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.detection_output import DetectionOutput
from .....ir.ops.normalization import NormalizeL2
from .....ir.ops.priors import PriorBox, PriorBoxClustered, Priors
from .....ir.ops.yolo import RegionYolo, ReorgYolo
from ...detection import Extents, detection_output, prior_box, prior_box_clustered
from ..exporter import IrExporter, exports
from ..importer import IrImporter, IrNode, opset

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
    operator = op.operator
    exporter.write_as(
        op,
        "DetectionOutput",
        op.inputs,
        opset=8,
        background_label_id=operator.background_label_id,
        top_k=operator.top_k,
        variance_encoded_in_target=operator.variance_encoded_in_target,
        keep_top_k=operator.keep_top_k,
        code_type=f"caffe.PriorBoxParameter.{operator.code_type.upper()}",
        share_location=operator.share_location,
        nms_threshold=operator.nms_threshold,
        confidence_threshold=max(operator.confidence_threshold, LOWEST),
        clip_after_nms=operator.clip_after_nms,
        clip_before_nms=operator.clip_before_nms,
        decrease_label_id=operator.decrease_label_id,
        normalized=operator.normalized,
        input_height=operator.input_height,
        input_width=operator.input_width,
        objectness_score=operator.objectness_score,
    )


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
