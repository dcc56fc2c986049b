"""Detection layers of IR: priors, proposals, pooling over regions, what detectors found, the last layers of YOLO."""

import math
from dataclasses import asdict, replace

from tilewright.errors import UnsupportedError

from .....ir.core import Op, Value
from .....ir.ops.detection.detection_output import DetectionOutput
from .....ir.ops.detection.priors import PriorBox, PriorBoxClustered
from .....ir.ops.detection.proposal import Proposal
from .....ir.ops.detection.region_pooling import PsroiPool, RoiAlign, RoiPool
from .....ir.ops.detection.yolo import RegionYolo, ReorgYolo
from .....ir.ops.elementwise import Mul
from .....ir.ops.normalization import NormalizeL2
from ... import detection
from ...shape import reshape
from ..exporter import IrExporter, exports, exports_as
from ..importer import IrImporter, IrNode, channels_of, legacy, opset, weights

LOWEST = -3.4028234663852886e38
"""The threshold that every score exceeds; readers of the time know no infinity."""


def _extents(node: IrNode, index: int, what: str) -> detection.Extents:
    found = node.integers(index, what)
    if len(found) != 2:
        raise node.model_error(f"{what} is a height and a width", expected="2 integers", found=list(found))
    return found[0], found[1]


@opset("PriorBox", "PriorBoxClustered")
def import_priors(node: IrNode, importer: IrImporter) -> Value:
    grid, image = _extents(node, 0, "the output size"), _extents(node, 1, "the image size")
    if node.op_type == "PriorBox":
        return importer.emit_one(detection.prior_box(node, grid, image, offset=None))
    return importer.emit_one(detection.prior_box_clustered(node, grid, image, offset=None, clip=True))


@exports(PriorBox, PriorBoxClustered)
def export_priors(op: Op[PriorBox | PriorBoxClustered], exporter: IrExporter) -> None:
    attributes = asdict(op.operator)
    inputs = [exporter.integers(attributes.pop(name), name) for name in ("grid", "image")]
    if isinstance(op.operator, PriorBox):
        exporter.write_as(op, "PriorBox", inputs, opset=8, **attributes)
    else:
        exporter.write_as(op, "PriorBoxClustered", inputs, step=0.0, **attributes)


@opset("DetectionOutput")
def import_detection_output(node: IrNode, importer: IrImporter) -> Value:
    return detection.detection_output(node, importer, keep_top_k=_keep_top_k(node, None), normalized=False)


def _keep_top_k(node: IrNode, default: tuple[int, ...] | None) -> int:
    keep_top_k = node.ints("keep_top_k", default)
    if not keep_top_k:
        raise node.model_error("attribute 'keep_top_k' is empty")
    return keep_top_k[0]


@exports(DetectionOutput)
def export_detection_output(op: Op[DetectionOutput], exporter: IrExporter) -> None:
    attributes = detection.detection_output_attributes(op.operator)
    attributes["confidence_threshold"] = max(op.operator.confidence_threshold, LOWEST)
    exporter.write_as(op, "DetectionOutput", op.inputs, opset=8, **attributes)


opset("RegionYolo")(lambda node, importer: region_yolo(node, importer, node.int("axis", 1), node.int("end_axis", 3)))


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
    attributes = asdict(op.operator)
    regions = attributes.pop("regions")
    mask = () if op.operator.do_softmax else tuple(range(regions))
    exporter.write_as(op, "RegionYolo", op.inputs, anchors=(), num=regions, mask=mask, **attributes)


@opset("ReorgYolo")
@legacy("ReorgYolo")
def import_reorg_yolo(node: IrNode, importer: IrImporter) -> Value:
    strides = node.ints("stride")
    if not strides or len(set(strides)) > 1:
        raise node.model_error("the stride is one number", found=list(strides))
    return importer.emit_one(ReorgYolo(strides[0]), node.input(0))


exports_as(ReorgYolo, "ReorgYolo", opset=2)


@opset("NormalizeL2")
def import_normalize_l2(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axes = sorted({node.from_front(axis, x.type.rank) for axis in node.integers(1, "the axes")})
    mode = node.choice("eps_mode", ("add", "max"), "add")
    return importer.emit_one(NormalizeL2(tuple(axes), node.float("eps"), mode), x)


@exports(NormalizeL2)
def export_normalize_l2(op: Op[NormalizeL2], exporter: IrExporter) -> None:
    operator = op.operator
    inputs = [op.operands.x, exporter.integers(operator.axes, "axes")]
    exporter.write_as(op, "NormalizeL2", inputs, eps=operator.epsilon, eps_mode=operator.epsilon_mode)


opset("Proposal")(detection.proposal)
opset("ROIPooling")(legacy("ROIPooling")(detection.roi_pool))
opset("PSROIPooling")(legacy("PSROIPooling")(detection.psroi_pool))


@exports(Proposal)
def export_proposal(op: Op[Proposal], exporter: IrExporter) -> None:
    exporter.write_as(op, "Proposal", op.inputs, opset=4, **detection.proposal_attributes(op.operator))


@exports(RoiPool)
def export_roi_pool(op: Op[RoiPool], exporter: IrExporter) -> None:
    exporter.write_as(
        op, "ROIPooling", op.inputs, opset=2, method=op.operator.mode, **detection.pooled_attributes(op.operator)
    )


@exports(PsroiPool)
def export_psroi_pool(op: Op[PsroiPool], exporter: IrExporter) -> None:
    exporter.write_as(op, "PSROIPooling", op.inputs, **detection.psroi_pool_attributes(op.operator))


@opset("ROIAlign")
def import_roi_align(node: IrNode, importer: IrImporter) -> Value:
    mode = node.choice("mode", ("avg", "max"))
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
    attributes = {"mode": operator.mode.partition("_")[0], "aligned_mode": operator.alignment}
    attributes |= {"sampling_ratio": operator.sampling_ratio, **detection.pooled_attributes(operator)}
    exporter.write_as(op, "ROIAlign", op.inputs, opset=9, **attributes)


@legacy("PriorBox", "PriorBoxClustered")
def import_legacy_priors(node: IrNode, importer: IrImporter) -> Value:
    """Feature map and picture, which the layer may say is of another size, to boxes and variances, [1, 2, numbers]."""
    grid, (height, width) = detection.extents_of(node, node.input(0)), detection.extents_of(node, node.input(1))
    size = node.int("img_size", 0)
    image = node.int("img_h", size) or height, node.int("img_w", size) or width
    make = detection.prior_box_clustered if node.op_type.lower() == "priorboxclustered" else detection.prior_box
    y = importer.emit_one(make(node, grid, image, offset=0.5))
    return reshape(importer, y, (1, *y.type.shape))


@legacy("DetectionOutput")
def import_legacy_detection_output(node: IrNode, importer: IrImporter) -> Value:
    """``clip`` is what later versions call ``clip_before_nms``."""
    keep_top_k, is_cut = _keep_top_k(node, (-1,)), node.bool("clip", False)
    return detection.detection_output(node, importer, keep_top_k=keep_top_k, threshold=LOWEST, is_cut=is_cut)


@legacy("Normalize")
def import_legacy_normalize(node: IrNode, importer: IrImporter) -> Value:
    """x over its norm, in each place or over the whole image, times a weight: of its channel, or one for all."""
    x, channels = node.input(0), channels_of(node)
    axes = range(1, x.type.rank) if node.bool("across_spatial", True) else (1,)
    y = importer.emit_one(NormalizeL2(tuple(axes), node.float("eps", 1e-10)), x)
    channels = 1 if node.bool("channel_shared", True) else channels
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
    image = node.input(2)
    if image.type.rank > 2:
        node = replace(node, inputs=(*node.inputs[:2], reshape(importer, image, (image.type.elements,))))
    return detection.proposal(node, importer)
