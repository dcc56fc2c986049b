"""Detection layers of IR of versions 2 to 7, which the extension library of the time brought."""

from __future__ import annotations

import math

from .....ir.core import Value
from .....ir.ops.elementwise import Mul
from .....ir.ops.normalization import NormalizeL2
from ...detection import (
    Extents,
    detection_output,
    extents_of,
    prior_box,
    prior_box_clustered,
    proposal,
    psroi_pool,
    roi_pool,
)
from ...shape import reshape
from ..importer import IrImporter, IrNode, legacy
from ..opset.detection import LOWEST, import_reorg_yolo, region_yolo
from .weights import weights

legacy("ReorgYolo")(import_reorg_yolo)


def _grid_and_image(node: IrNode) -> tuple[Extents, Extents]:
    """Extents of the feature map and of the picture, of which the layer may state others."""
    grid, (height, width) = extents_of(node, node.input(0)), extents_of(node, node.input(1))
    size = node.int("img_size", 0)
    return grid, (node.int("img_h", size) or height, node.int("img_w", size) or width)


@legacy("PriorBox", "PriorBoxClustered")
def import_priors(node: IrNode, importer: IrImporter) -> Value:
    """Feature map and picture to boxes and variances, [1, 2, numbers]."""
    grid, image = _grid_and_image(node)
    make = prior_box_clustered if node.op_type.lower() == "priorboxclustered" else prior_box
    y = importer.emit_one(make(node, grid, image, offset=0.5))
    return reshape(importer, y, (1, *y.type.shape))


@legacy("DetectionOutput")
def import_detection_output(node: IrNode, importer: IrImporter) -> Value:
    """``clip`` is what later versions call ``clip_before_nms``."""
    operands = [node.input(index) for index in range(len(node.inputs))]
    keep_top_k = node.ints("keep_top_k", (-1,))
    if not keep_top_k:
        raise node.model_error("attribute 'keep_top_k' is empty")
    is_cut = node.bool("clip", False)
    return detection_output(node, importer, operands, keep_top_k=keep_top_k[0], threshold=LOWEST, is_cut=is_cut)


@legacy("Normalize")
def import_normalize(node: IrNode, importer: IrImporter) -> Value:
    """x over its norm, in each place or over the whole image, times a weight: of its channel, or one for all."""
    x = node.input(0)
    if x.type.rank < 2:
        raise node.model_error("the input has no channels", found=x.type)
    axes = range(1, x.type.rank) if node.bool("across_spatial", True) else (1,)
    y = importer.emit_one(NormalizeL2(tuple(axes), node.float("eps", 1e-10)), x)
    channels = 1 if node.bool("channel_shared", True) else x.type.shape[1]
    return importer.emit_one(Mul(), y, weights(node, importer, (channels, *[1] * (x.type.rank - 2))))


@legacy("RegionYolo")
def import_region_yolo(node: IrNode, importer: IrImporter) -> Value:
    """Files that name no axes say in the shape of the output which dimensions become one."""
    if node.has("axis"):
        return region_yolo(node, importer, node.int("axis"), node.int("end_axis", -1))
    y = region_yolo(node, importer, 1, 1)
    shape = (y.type.shape[0], *node.output_shape()[1:])
    return reshape(importer, y, shape) if math.prod(shape) == y.type.elements else y


@legacy("PSROIPooling")
def import_psroi_pooling(node: IrNode, importer: IrImporter) -> Value:
    return psroi_pool(node, importer, [node.input(index) for index in range(len(node.inputs))])


@legacy("ROIPooling")
def import_roi_pooling(node: IrNode, importer: IrImporter) -> Value:
    return roi_pool(node, importer, [node.input(0), node.input(1)])


@legacy("Proposal")
def import_proposal(node: IrNode, importer: IrImporter) -> list[Value]:
    """Regions and, if a file wants them, their scores."""
    scores, deltas, image = (node.input(index) for index in range(3))
    if image.type.rank > 2:
        image = reshape(importer, image, (image.type.elements,))
    return proposal(node, importer, [scores, deltas, image])
