"""Detection layers as OpenVINO's converter and onnxruntime spell them in ONNX, and pooling over regions."""

import numpy as np

from ......ir.core import Op, Value
from ......ir.ops.detection.detection_output import DetectionOutput
from ......ir.ops.detection.priors import PriorBox, PriorBoxClustered
from ......ir.ops.detection.proposal import Proposal
from ......ir.ops.detection.region_pooling import OFFSETS, PsroiPool, RoiAlign, RoiPool
from ......ir.ops.detection.yolo import RegionYolo, ReorgYolo
from .... import detection
from ....shape import reshape
from ...exporter import OPENVINO, Exporter, exports
from ...importer import Importer, Node, imports


@imports("PriorBox", "PriorBoxClustered", domain=OPENVINO)
def import_priors(node: Node, importer: Importer) -> Value:
    """Of feature map and image only the extents count. Result: [1, 2, numbers]."""
    grid, image = detection.extents_of(node, node.input(0)), detection.extents_of(node, node.input(1))
    make = detection.prior_box if node.op_type == "PriorBox" else detection.prior_box_clustered
    priors = importer.emit_one(make(node, grid, image, offset=0.0))
    return reshape(importer, priors, (1, *priors.type.shape))


@exports(PriorBox, PriorBoxClustered)
def export_priors(op: Op[PriorBox | PriorBoxClustered], exporter: Exporter) -> None:
    exporter.define(op, exporter.constant(op.evaluate([])[0], op.result.name))


imports("Proposal", domain=OPENVINO)(detection.proposal)
imports("ROIPooling", domain=OPENVINO)(detection.roi_pool)
imports("PSROIPooling", domain=OPENVINO)(detection.psroi_pool)


@exports(Proposal)
def export_proposal(op: Op[Proposal], exporter: Exporter) -> None:
    exporter.write_as(op, "Proposal", op.operands, OPENVINO, **detection.proposal_attributes(op.operator))


@imports("MaxRoiPool")
def import_max_roi_pool(node: Node, importer: Importer) -> Value:
    height, width = node.ints("pooled_shape")
    operator = RoiPool(node.float("spatial_scale", 1.0), (height, width))
    return importer.emit_one(operator, node.input(0), node.input(1))


@exports(RoiPool)
def export_roi_pool(op: Op[RoiPool], exporter: Exporter) -> None:
    operator = op.operator
    if operator.mode == "max":
        attributes = {"pooled_shape": operator.size, "spatial_scale": operator.spatial_scale}
        exporter.write_as(op, "MaxRoiPool", op.operands, **attributes)
        return
    attributes = detection.pooled_attributes(operator)
    exporter.write_as(op, "ROIPooling", op.operands, OPENVINO, method=operator.mode, **attributes)


@exports(PsroiPool)
def export_psroi_pool(op: Op[PsroiPool], exporter: Exporter) -> None:
    exporter.write_as(op, "PSROIPooling", op.operands, OPENVINO, **detection.psroi_pool_attributes(op.operator))


_ALIGNMENTS = {"half_pixel": "half_pixel_for_nn", "output_half_pixel": "asymmetric"}
"""What ONNX calls the modes of alignment."""


@imports("RoiAlign")
def import_roi_align(node: Node, importer: Importer) -> Value:
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    given = node.string("coordinate_transformation_mode", default)
    if given not in _ALIGNMENTS:
        raise node.model_error("unknown coordinate_transformation_mode", expected=", ".join(_ALIGNMENTS), found=given)
    size = node.int("output_height", 1), node.int("output_width", 1)
    return _aligned(node, importer, size, node.string("mode", "avg"), _ALIGNMENTS[given])


@imports("ROIAlign", domain=OPENVINO)
def import_openvino_roi_align(node: Node, importer: Importer) -> Value:
    mode = node.word("mode", "avg")
    size = node.int("pooled_h"), node.int("pooled_w")
    return _aligned(node, importer, size, "max_interpolated" if mode == "max" else mode, node.word("aligned_mode"))


def _aligned(node: Node, importer: Importer, size: tuple[int, int], mode: str, alignment: str) -> Value:
    operator = RoiAlign(size, node.int("sampling_ratio", 0), node.float("spatial_scale", 1.0), mode, alignment)
    x, regions, images = (node.input(index) for index in range(3))
    return importer.emit_one(operator, x, regions, images)


@exports(RoiAlign)
def export_roi_align(op: Op[RoiAlign], exporter: Exporter) -> None:
    operator = op.operator
    (height, width), (x, regions, images) = operator.size, op.operands
    indices = exporter.node("Cast", [images], to=7)
    if operator.mode == "max_interpolated":
        attributes = {"sampling_ratio": operator.sampling_ratio, "aligned_mode": operator.alignment}
        attributes |= {"mode": "max", **detection.pooled_attributes(operator)}
        exporter.write_as(op, "ROIAlign", [x, regions, indices], OPENVINO, **attributes)
        return
    moved: Value | str = regions
    if OFFSETS[operator.alignment][0]:
        moved = exporter.node(
            "Add", [regions, exporter.constant(np.asarray(OFFSETS[operator.alignment][0], np.float32), "half")]
        )
    alignment = "output_half_pixel" if operator.alignment == "asymmetric" else "half_pixel"
    exporter.write_as(
        op,
        "RoiAlign",
        [x, moved, indices],
        output_height=height,
        output_width=width,
        mode=operator.mode,
        coordinate_transformation_mode=alignment,
        sampling_ratio=operator.sampling_ratio,
        spatial_scale=operator.spatial_scale,
    )


@exports(RegionYolo)
def export_region_yolo(op: Op[RegionYolo], exporter: Exporter) -> None:
    operator, x = op.operator, op.operands.x
    batch, _, height, width = x.type.shape
    shape = exporter.integers((batch, operator.regions, -1, height, width), "shape")
    regions = exporter.node("Reshape", [x, shape])
    sizes = [2, operator.coords - 2, 1, operator.classes]
    begins = [sum(sizes[:part]) for part in range(len(sizes))]
    place, sides, presence, classes = (
        exporter.node("Slice", [regions, *(exporter.integers([number], "part") for number in (begin, begin + size, 2))])
        for begin, size in zip(begins, sizes, strict=True)
    )
    probable = (
        exporter.node("Softmax", [classes], axis=2) if operator.do_softmax else exporter.node("Sigmoid", [classes])
    )
    parts = [exporter.node("Sigmoid", [place]), sides, exporter.node("Sigmoid", [presence]), probable]
    joined = exporter.node("Concat", parts, axis=2)
    exporter.write_as(op, "Reshape", [joined, exporter.integers(op.result.type.shape, "shape")])


@exports(ReorgYolo)
def export_reorg_yolo(op: Op[ReorgYolo], exporter: Exporter) -> None:
    stride, x = op.operator.stride, op.operands.x
    batch, channels, height, width = x.type.shape
    squares = exporter.integers((batch, channels // stride**2, height, stride, width, stride), "shape")
    moved = exporter.node("Transpose", [exporter.node("Reshape", [x, squares])], perm=[0, 3, 5, 1, 2, 4])
    exporter.write_as(op, "Reshape", [moved, exporter.integers(op.result.type.shape, "shape")])


@imports("DetectionOutput", domain=OPENVINO)
def import_detection_output(node: Node, importer: Importer) -> Value:
    given = node.attributes.get("keep_top_k", 1)
    keep_top_k = node.ints("keep_top_k")[0] if isinstance(given, list) else node.int("keep_top_k", 1)
    return detection.detection_output(node, importer, keep_top_k=keep_top_k)


@exports(DetectionOutput)
def export_detection_output(op: Op[DetectionOutput], exporter: Exporter) -> None:
    exporter.write_as(op, "DetectionOutput", op.inputs, OPENVINO, **detection.detection_output_attributes(op.operator))
