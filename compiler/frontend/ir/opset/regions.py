"""Layers of two-stage detectors in IR of version 10 and later: proposals, and pooling over regions."""

from __future__ import annotations

from tilewright.errors import UnsupportedError

from .....ir.core import Op, Value
from .....ir.ops.proposal import Proposal
from .....ir.ops.region_pooling import PsroiPool, RoiAlign, RoiPool
from ...detection import proposal, psroi_pool, roi_pool
from ..exporter import IrExporter, exports
from ..importer import IrImporter, IrNode, opset


@opset("Proposal")
def import_proposal(node: IrNode, importer: IrImporter) -> list[Value]:
    """Regions and, since version 4, their scores."""
    return proposal(node, importer, [node.input(index) for index in range(3)])


@exports(Proposal)
def export_proposal(op: Op[Proposal], exporter: IrExporter) -> None:
    operator = op.operator
    exporter.write_as(
        op,
        "Proposal",
        op.inputs,
        opset=4,
        base_size=operator.base_size,
        pre_nms_topn=operator.pre_nms_topn,
        post_nms_topn=operator.post_nms_topn,
        nms_thresh=operator.nms_thresh,
        feat_stride=operator.feat_stride,
        min_size=operator.min_size,
        ratio=operator.ratio,
        scale=operator.scale,
        clip_before_nms=operator.clip_before_nms,
        clip_after_nms=operator.clip_after_nms,
        normalize=operator.normalize,
        box_size_scale=operator.box_size_scale,
        box_coordinate_scale=operator.box_coordinate_scale,
        framework="tensorflow" if operator.is_tensorflow else "",
    )


@opset("ROIPooling")
def import_roi_pooling(node: IrNode, importer: IrImporter) -> Value:
    return roi_pool(node, importer, [node.input(0), node.input(1)])


@exports(RoiPool)
def export_roi_pool(op: Op[RoiPool], exporter: IrExporter) -> None:
    operator = op.operator
    height, width = operator.size
    attributes = {"pooled_h": height, "pooled_w": width, "spatial_scale": operator.spatial_scale}
    exporter.write_as(op, "ROIPooling", op.inputs, opset=2, method=operator.mode, **attributes)


@opset("PSROIPooling")
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
