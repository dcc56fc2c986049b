"""Small networks as converters of 2018 and 2019 wrote them, in IR of versions 2 to 7 and beside that in ONNX.

Each takes the input ``data``. What they hold is random, the same in every version and precision.
"""

from __future__ import annotations

import numpy as np
from legacy_ir import Tensor
from legacy_layers import LegacyNetwork


def resnet_like(version: int, precision: str = "FP32", batch: int = 1) -> LegacyNetwork:
    """A classifier of 10 classes with residuals and batch normalisation: ``data`` [batch, 3, 32, 32] to ``prob``."""
    net = LegacyNetwork("resnet_like", version, precision)
    x = net.input("data", (batch, 3, 32, 32))
    means, scale = np.array([-104, -117, -123.5], np.float32) / 64, np.full(3, 1 / 64, np.float32)
    x = net.scale_shift("data/mean", x, scale, means.astype(np.float16).astype(np.float32))
    x = _normalized(net, "conv1", net.convolution("conv1", x, 8, 3, bias=False, pads=1))
    x = net.pooling("pool1", net.relu("conv1_relu", x), "max", 3, 2, ceil=True)
    for name, channels, stride in (("res2a", 8, 1), ("res3a", 16, 2)):
        branch = net.convolution(f"{name}_branch2a", x, channels, 3, stride, 1, bias=False)
        branch = net.relu(f"{name}_branch2a_relu", _normalized(net, f"{name}_branch2a", branch))
        branch = net.convolution(f"{name}_branch2b", branch, channels, 3, 1, 1)
        if stride > 1:
            x = net.convolution(f"{name}_branch1", x, channels, 1, stride)
        x = net.relu(f"{name}_relu", net.eltwise(name, [x, branch]))
    x = net.pooling("pool5", x, "avg", x.shape[2], 1)
    net.softmax("prob", net.fully_connected("fc10", x, 10))
    return net


def _normalized(net: LegacyNetwork, name: str, x: Tensor) -> Tensor:
    return net.scale_shift(f"scale_{name}", net.batch_norm(f"bn_{name}", x))


def fcn_like(version: int, precision: str = "FP32") -> LegacyNetwork:
    """A segmentation with bilinear upsampling: ``data`` [1, 3, 40, 56] to ``score`` [1, 5, 40, 56]."""
    net = LegacyNetwork("fcn_like", version, precision)
    data = net.input("data", (1, 3, 40, 56))
    x = net.pre_process(data, (104.0, 117.0, 123.0), (64.0, 64.0, 32.0))
    x = net.relu("relu1", net.convolution("conv1", x, 8, 3, pads=5))
    pool1 = net.pooling("pool1", x, "max", 2, 2, ceil=True)
    pool2 = net.pooling("pool2", net.relu("relu2", net.convolution("conv2", pool1, 16, 3, pads=1)), "max", 2, 2)
    score2 = net.convolution("score_conv", net.convolution("fc6", pool2, 16, 3, pads=2, dilation=2), 5, 1)
    upscore2 = net.deconvolution("upscore2", score2, 2)
    score_pool1 = net.crop("score_pool1c", net.convolution("score_pool1", pool1, 5, 1), upscore2, 0)
    fused = net.eltwise("fuse", [upscore2, score_pool1], coeff=(1.0, 0.5))
    net.softmax("score", net.crop("upscore_crop", net.deconvolution("upscore", fused, 2), data, 3))
    return net
