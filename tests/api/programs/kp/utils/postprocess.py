"""Boxes from the nodes of a YOLO-like network, in pixels of the image that was sent."""

import kp
import numpy as np
from kp.KPBaseClass.ValueBase import ValueRepresentBase

ANCHORS = np.array([[[4, 5], [8, 8], [12, 10]], [[16, 14], [24, 20], [40, 30]]])
CELL_BOXES, BOX_CHANNELS = 3, 5


class BoundingBox(ValueRepresentBase):
    def __init__(self, x1=0, y1=0, x2=0, y2=0, score=0.0, class_num=0):
        self.x1, self.y1, self.x2, self.y2 = x1, y1, x2, y2
        self.score = score
        self.class_num = class_num

    def get_member_variable_dict(self) -> dict:
        return dict(self.__dict__)


class YoloResult(ValueRepresentBase):
    def __init__(self, class_count: int, box_list: list[BoundingBox]):
        self.class_count = class_count
        self.box_list = box_list

    def get_member_variable_dict(self) -> dict:
        boxes = {str(index): box.get_member_variable_dict() for index, box in enumerate(self.box_list)}
        return {"class_count": self.class_count, "box_count": len(self.box_list), "box_list": boxes}


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def _scale(boxes, info: kp.HwPreProcInfo):
    ratio = [info.img_width / info.resized_img_width, info.img_height / info.resized_img_height] * 2
    return (boxes - np.array([info.pad_left, info.pad_top] * 2)) * np.array(ratio)


def post_process(nodes: list[kp.InferenceFloatNodeOutput], info: kp.HwPreProcInfo, threshold: float) -> YoloResult:
    rows = []
    for node, anchors in zip(nodes, ANCHORS, strict=True):
        classes = node.channel // CELL_BOXES - BOX_CHANNELS
        found = _sigmoid(node.ndarray.transpose((0, 2, 3, 1))[0])
        found = found.reshape(node.height, node.width, CELL_BOXES, BOX_CHANNELS + classes)
        grid = np.stack(np.meshgrid(np.arange(node.width), np.arange(node.height)), 2)[:, :, None]
        cell = np.array([info.model_input_width / node.width, info.model_input_height / node.height])
        centre, size = (found[..., :2] + grid) * cell, (found[..., 2:4] * 2) ** 2 * anchors
        corners = _scale(np.concatenate([centre - size / 2, centre + size / 2], -1), info)
        rows.append(np.concatenate([corners, found[..., 4:5] * found[..., 5:]], -1).reshape(-1, 4 + classes))
    every = np.concatenate(rows)
    boxes = []
    for class_num in range(every.shape[1] - 4):
        scores = every[:, 4 + class_num]
        for row in every[scores > threshold][np.argsort(-scores[scores > threshold])][:5]:
            corners = [float(round(value, 3)) for value in row[:4]]
            boxes.append(BoundingBox(*corners, round(float(row[4 + class_num]), 5), class_num))
    return YoloResult(every.shape[1] - 4, boxes)
