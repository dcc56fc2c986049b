"""The layers of the digits network in plain NumPy, forward and backward.

Every layer takes and returns float32 batches in NCHW order (the dense layer: [N, features]), remembers what its
backward pass needs, and keeps its trainable arrays in ``parameters`` with their gradients, of equal shapes and in the
same order, in ``gradients``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray


class Layer(ABC):
    """A differentiable function of one array."""

    def __init__(self) -> None:
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """Returns the layer's output for the batch ``x``."""

    @abstractmethod
    def backward(self, upstream: Array) -> Array:
        """Takes d(loss)/d(output) of the last forward pass, stores ``gradients``, and returns d(loss)/d(input)."""


def windows(x: Array, kernel: int) -> Array:
    """All ``kernel``-sized windows of ``x`` under zero padding that keeps the size: [N, C, H, W, kernel, kernel]."""
    pad = kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return sliding_window_view(padded, (kernel, kernel), axis=(2, 3))


class Convolution(Layer):
    """Convolution with an odd square kernel, stride 1, and padding that keeps the size; weights [O, C, k, k]."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        deviation = np.sqrt(2 / (inputs * kernel * kernel))
        self.weights = rng.normal(0, deviation, (outputs, inputs, kernel, kernel)).astype(np.float32)
        self.bias = np.zeros(outputs, np.float32)
        self.parameters = [self.weights, self.bias]

    def forward(self, x: Array) -> Array:
        self.windows = windows(x, self.weights.shape[-1])
        y = np.tensordot(self.windows, self.weights, axes=((1, 4, 5), (1, 2, 3)))
        return y.transpose(0, 3, 1, 2) + self.bias[:, None, None]

    def backward(self, upstream: Array) -> Array:
        self.gradients = [np.tensordot(upstream, self.windows, axes=((0, 2, 3), (0, 2, 3))), upstream.sum((0, 2, 3))]
        mirrored = self.weights[:, :, ::-1, ::-1]
        spread = windows(upstream, self.weights.shape[-1])
        return np.tensordot(spread, mirrored, axes=((1, 4, 5), (0, 2, 3))).transpose(0, 3, 1, 2)


class DepthwiseConvolution(Layer):
    """One 3x3 filter for each channel, stride 1, padding that keeps the size; weights [C, 1, 3, 3]."""

    def __init__(self, rng: np.random.Generator, channels: int) -> None:
        super().__init__()
        self.weights = rng.normal(0, np.sqrt(2 / 9), (channels, 1, 3, 3)).astype(np.float32)
        self.bias = np.zeros(channels, np.float32)
        self.parameters = [self.weights, self.bias]

    def forward(self, x: Array) -> Array:
        self.windows = windows(x, 3)
        return np.einsum("nchwij,cij->nchw", self.windows, self.weights[:, 0]) + self.bias[:, None, None]

    def backward(self, upstream: Array) -> Array:
        weights = np.einsum("nchwij,nchw->cij", self.windows, upstream)[:, None]
        self.gradients = [weights, upstream.sum((0, 2, 3))]
        return np.einsum("nchwij,cij->nchw", windows(upstream, 3), self.weights[:, 0, ::-1, ::-1])


class Clip(Layer):
    """min(max(x, 0), ceiling); the ceiling may be infinite, which is ReLU."""

    def __init__(self, ceiling: float = np.inf) -> None:
        super().__init__()
        self.ceiling = ceiling

    def forward(self, x: Array) -> Array:
        self.inside = (x > 0) & (x < self.ceiling)
        return np.clip(x, 0, self.ceiling).astype(np.float32)

    def backward(self, upstream: Array) -> Array:
        return upstream * self.inside


class MaxPool(Layer):
    """Maximum over disjoint 2x2 windows."""

    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        y = blocks.max((3, 5), keepdims=True)
        largest = blocks == y
        self.share = largest / largest.sum((3, 5), keepdims=True, dtype=np.float32)
        return y[:, :, :, 0, :, 0]

    def backward(self, upstream: Array) -> Array:
        n, c, h, w = upstream.shape
        return (self.share * upstream[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w)


class GlobalAverage(Layer):
    """Mean over height and width: [N, C, H, W] to [N, C]."""

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.mean((2, 3))

    def backward(self, upstream: Array) -> Array:
        height, width = self.shape[2:]
        return np.broadcast_to(upstream[:, :, None, None] / np.float32(height * width), self.shape)


class Dense(Layer):
    """Affine map of feature vectors; weights [O, I]."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weights = rng.normal(0, np.sqrt(1 / inputs), (outputs, inputs)).astype(np.float32)
        self.bias = np.zeros(outputs, np.float32)
        self.parameters = [self.weights, self.bias]

    def forward(self, x: Array) -> Array:
        self.x = x
        return x @ self.weights.T + self.bias

    def backward(self, upstream: Array) -> Array:
        self.gradients = [upstream.T @ self.x, upstream.sum(0)]
        return upstream @ self.weights


class Residual(Layer):
    """x + inner(x)."""

    def __init__(self, inner: Layer) -> None:
        super().__init__()
        self.inner = inner
        self.parameters = inner.parameters

    def forward(self, x: Array) -> Array:
        return x + self.inner.forward(x)

    def backward(self, upstream: Array) -> Array:
        through = self.inner.backward(upstream)
        self.gradients = self.inner.gradients
        return upstream + through


class Adam:
    """The Adam optimiser (Kingma and Ba, 2015) over the parameters of ``layers``, updated in place."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.first = [[np.zeros_like(p) for p in layer.parameters] for layer in layers]
        self.second = [[np.zeros_like(p) for p in layer.parameters] for layer in layers]
        self.steps = 0

    def step(self, rate: float) -> None:
        """Moves every parameter against its gradient with learning rate ``rate``."""
        self.steps += 1
        scale = np.float32(rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps))
        for layer, firsts, seconds in zip(self.layers, self.first, self.second, strict=True):
            for p, g, m, v in zip(layer.parameters, layer.gradients, firsts, seconds, strict=True):
                m += np.float32(0.1) * (g - m)
                v += np.float32(0.001) * (g * g - v)
                p -= scale * m / (np.sqrt(v) + np.float32(1e-8))
