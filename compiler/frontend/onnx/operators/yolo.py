"""The last layers of YOLO networks, which ONNX writes as what they are made of."""

from __future__ import annotations

from .....ir.core import Op
from .....ir.ops.yolo import RegionYolo, ReorgYolo
from ..exporter import Exporter, exports


@exports(RegionYolo)
def export_region_yolo(op: Op[RegionYolo], exporter: Exporter) -> None:
    operator, x = op.operator, op.operands.x
    batch, _, height, width = x.type.shape
    shape = exporter.integers((batch, operator.regions, -1, height, width), "shape")
    regions = exporter.node("Reshape", [x, shape])
    sizes = [2, operator.coords - 2, 1, operator.classes]
    begins = [sum(sizes[:part]) for part in range(len(sizes))]
    place, sides, presence, classes = (
        exporter.node(
            "Slice",
            [regions, *(exporter.integers([number], "part") for number in (begin, begin + size, 2))],
        )
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
