"""A MobileNet with the heads of an SSD, as converters of 2018 and 2019 wrote it in IR of versions 2 to 7."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from legacy_ir import Tensor, text
from legacy_layers import LegacyNetwork
from slow_detection import Priors, caffe_sizes, detections, prior_boxes

CLASSES = 3
VARIANCES = (0.1, 0.1, 0.2, 0.2)
PICTURE = (64, 80)


class Detector(LegacyNetwork):
    """A network whose last layer is ``detection_out``, which the ONNX model does not have."""

    attributes: Mapping[str, object]
    priors: list[np.ndarray]
    rows: int

    def head(self, name: str, x: Tensor, picture: Tensor, priors: Priors, layer: str) -> tuple[Tensor, Tensor, Tensor]:
        """Locations, confidences and priors of a feature map."""
        count = len(priors.sizes)
        parts: list[Tensor] = []
        for what, outputs, gain in (("loc", 4 * count, 0.2), ("conf", CLASSES * count, 0.4)):
            y = self.convolution(f"{name}_mbox_{what}", x, outputs, 3, pads=1, gain=gain)
            y = self.permute(f"{name}_mbox_{what}_perm", y, (0, 2, 3, 1))
            parts.append(self.flatten(f"{name}_mbox_{what}_flat", y))
        boxes = prior_boxes(priors, (x.shape[2], x.shape[3]), PICTURE)
        shared = {"clip": 0, "flip": 1, "offset": priors.offset, "step": priors.step, "variance": text(VARIANCES)}
        if layer == "PriorBoxClustered":
            widths, heights = zip(*priors.sizes, strict=True)
            attributes = {**shared, "width": text(widths), "height": text(heights)}
        else:
            attributes = {**shared, "min_size": "20.0", "max_size": "40.0", "aspect_ratio": "2.0"}
        (prior,) = self.layer(layer, f"{name}_mbox_priorbox", [x, picture], [boxes.shape], attributes)
        self.priors.append(boxes)
        return parts[0], parts[1], prior

    def expected(self, inputs: Mapping[str, np.ndarray], *outputs: str) -> dict[str, np.ndarray]:
        """As of every network; ``detection_out`` [1, 1, rows, 7] by loops, zeros behind the row that ends it."""
        others = [name for name in outputs if name != "detection_out"]
        found = super().expected(inputs, *others, "mbox_loc", "mbox_conf_flatten")
        rows = detections(
            found["mbox_loc"],
            found["mbox_conf_flatten"],
            np.concatenate(self.priors, 2),
            threshold=float(str(self.attributes["confidence_threshold"])),
            nms_threshold=float(str(self.attributes["nms_threshold"])),
            top_k=int(str(self.attributes["top_k"])),
            keep_top_k=int(str(self.attributes["keep_top_k"])),
        )
        whole = np.zeros((1, 1, self.rows, 7), np.float32)
        whole[0, 0, : len(rows)] = rows
        if len(rows) < self.rows:
            whole[0, 0, len(rows), 0] = -1
        return {name: whole if name == "detection_out" else found[name] for name in outputs}


def mobilenet_ssd_like(version: int, precision: str = "FP32") -> Detector:
    """A detector of two classes and the background: ``data`` [1, 3, 64, 80] to ``detection_out`` [1, 1, 100, 7].

    Its boxes to begin with are those of ``PriorBox`` in version 2, and of ``PriorBoxClustered`` later.
    """
    net = Detector("mobilenet_ssd_like", version, precision, seed=4)
    net.priors, net.rows = [], 100
    data = net.input("data", (1, 3, *PICTURE))
    scale, shift = np.full(3, 1 / 128, np.float32), np.full(3, -1, np.float32)
    x = net.scale_shift("data/mean", data, scale, shift)
    x = net.clamp("relu0", net.convolution("conv0", x, 8, 3, 2, 1, gain=2))
    maps: list[Tensor] = []
    for index, (outputs, stride) in enumerate(((16, 2), (24, 2), (24, 1), (32, 2)), start=1):
        pads = (0, 1) if stride == 2 else 1
        x = net.convolution(f"conv{index}/dw", x, x.shape[1], 3, stride, pads, x.shape[1], gain=2)
        x = net.convolution(f"conv{index}", net.clamp(f"relu{index}/dw", x), outputs, 1, gain=2)
        x = net.clamp(f"relu{index}", x)
        maps.append(x)
    heads: list[tuple[Tensor, Tensor, Tensor]] = []
    for name, feature, least in (("conv3", maps[2], 20.0), ("conv4", maps[3], 36.0)):
        if version == 2:
            priors, layer = Priors(caffe_sizes([20], [40], [2], flip=True), VARIANCES), "PriorBox"
        else:
            sizes = [(least, least), (least * 1.5, least), (least, least * 1.25)]
            priors = Priors(sizes, VARIANCES, 0.0 if name == "conv4" else 8.0)
            layer = "PriorBoxClustered"
        heads.append(net.head(name, feature, data, priors, layer))
    location, confidence, prior = zip(*heads, strict=True)
    location, confidence = net.concat("mbox_loc", location), net.concat("mbox_conf", confidence)
    (boxes,) = net.layer("Concat", "mbox_priorbox", prior, [np.concatenate(net.priors, 2).shape], {"axis": 2})
    count = confidence.shape[1] // CLASSES
    scores = net.reshape("mbox_conf_reshape", confidence, (0, -1, CLASSES), (1, count, CLASSES))
    scores = net.flatten("mbox_conf_flatten", net.softmax("mbox_conf_softmax", scores, 2))
    net.attributes = {
        "num_classes": CLASSES,
        "share_location": 1,
        "background_label_id": 0,
        "nms_threshold": 0.45,
        "top_k": 400,
        "keep_top_k": net.rows,
        "confidence_threshold": 0.5,
        "code_type": "caffe.PriorBoxParameter.CENTER_SIZE",
        "variance_encoded_in_target": 0,
        "eta": 1.0,
        "visualize": "False",
        "resize_mode": "WARP",
        "pad_mode": "CONSTANT",
    }
    net.layer("DetectionOutput", "detection_out", [location, scores, boxes], [(1, 1, net.rows, 7)], net.attributes)
    return net
