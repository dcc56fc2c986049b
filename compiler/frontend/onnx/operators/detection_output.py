"""DetectionOutput as OpenVINO's converter spells it in ONNX; the standard has nothing like it."""

from __future__ import annotations

from .....ir.core import Op, Value
from .....ir.ops.detection_output import DetectionOutput
from ...detection import detection_output
from ..exporter import OPENVINO, Exporter, exports
from ..importer import Importer, Node, imports


@imports("DetectionOutput", domain=OPENVINO)
def import_detection_output(node: Node, importer: Importer) -> Value:
    operands = [node.input(index) for index in range(len(node.inputs))]
    given = node.attributes.get("keep_top_k", 1)
    keep_top_k = node.ints("keep_top_k")[0] if isinstance(given, list) else node.int("keep_top_k", 1)
    return detection_output(node, importer, operands, keep_top_k=keep_top_k)


@exports(DetectionOutput)
def export_detection_output(op: Op[DetectionOutput], exporter: Exporter) -> None:
    operator = op.operator
    exporter.write_as(
        op,
        "DetectionOutput",
        op.inputs,
        OPENVINO,
        nms_threshold=operator.nms_threshold,
        confidence_threshold=operator.confidence_threshold,
        background_label_id=operator.background_label_id,
        top_k=operator.top_k,
        keep_top_k=operator.keep_top_k,
        code_type=f"caffe.PriorBoxParameter.{operator.code_type.upper()}",
        share_location=int(operator.share_location),
        variance_encoded_in_target=int(operator.variance_encoded_in_target),
        normalized=int(operator.normalized),
        input_height=operator.input_height,
        input_width=operator.input_width,
        clip_before_nms=int(operator.clip_before_nms),
        clip_after_nms=int(operator.clip_after_nms),
        decrease_label_id=int(operator.decrease_label_id),
        objectness_score=operator.objectness_score,
    )
