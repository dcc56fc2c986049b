"""Activation functions: one definition for the operators of the same name and for fused epilogues.

Formulas as in the ONNX operator documentation; all work elementwise in the dtype of the argument.
"""

import math
from collections.abc import Callable

import numpy as np

from tilewright.errors import IRError

from .types import TensorType

Args = tuple[float, ...]


def _sigmoid(x: np.ndarray, _: Args) -> np.ndarray:
    # Written over exp(-|x|) so that no argument overflows.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def _softplus(x: np.ndarray, _: Args) -> np.ndarray:
    return np.logaddexp(x, np.zeros((), x.dtype))


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, through the C library in double precision."""
    return np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64)).astype(x.dtype)


def _gelu(x: np.ndarray, _: Args) -> np.ndarray:
    return (0.5 * x * (1 + erf(x / np.asarray(math.sqrt(2), x.dtype)))).astype(x.dtype)


def _gelu_tanh(x: np.ndarray, _: Args) -> np.ndarray:
    inner = np.asarray(math.sqrt(2 / math.pi), x.dtype) * (x + np.asarray(0.044715, x.dtype) * x**3)
    return (0.5 * x * (1 + np.tanh(inner))).astype(x.dtype)


def clip_bounds(args: Args, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of a clip as scalars of ``dtype``; integers that cannot hold one are bounded by their range.

    A bound of NaN does not bound floats, as in onnxruntime."""
    if dtype.kind == "f":
        low, high = (-math.inf if math.isnan(args[0]) else args[0]), (math.inf if math.isnan(args[1]) else args[1])
        return np.asarray(low, dtype), np.asarray(high, dtype)
    span = np.iinfo(dtype)
    low = span.min if args[0] <= span.min else span.max if args[0] >= span.max else math.ceil(args[0])
    high = span.max if args[1] >= span.max else span.min if args[1] <= span.min else math.floor(args[1])
    return np.asarray(low, dtype), np.asarray(high, dtype)


def _clip(x: np.ndarray, a: Args) -> np.ndarray:
    low, high = clip_bounds(a, x.dtype)
    return np.minimum(np.maximum(x, low), high)


def _hard_sigmoid(x: np.ndarray, a: Args) -> np.ndarray:
    return np.clip(np.asarray(a[0], x.dtype) * x + np.asarray(a[1], x.dtype), 0, 1).astype(x.dtype)


def _elu(x: np.ndarray, a: Args) -> np.ndarray:
    return np.where(x < 0, np.asarray(a[0], x.dtype) * np.expm1(np.minimum(x, 0)), x).astype(x.dtype)


def _selu(x: np.ndarray, a: Args) -> np.ndarray:
    return (np.asarray(a[1], x.dtype) * _elu(x, a[:1])).astype(x.dtype)


def _celu(x: np.ndarray, a: Args) -> np.ndarray:
    alpha = np.asarray(a[0], x.dtype)
    return (np.maximum(x, 0) + np.minimum(alpha * np.expm1(x / alpha), 0)).astype(x.dtype)


ACTIVATIONS: dict[str, tuple[int, Callable[[np.ndarray, Args], np.ndarray]]] = {
    "none": (0, lambda x, _: x),
    "relu": (0, lambda x, _: np.maximum(x, np.zeros((), x.dtype))),
    "clip": (2, _clip),
    "leaky_relu": (1, lambda x, a: np.where(x < 0, np.asarray(a[0], x.dtype) * x, x).astype(x.dtype)),
    "elu": (1, _elu),
    "selu": (2, _selu),
    "celu": (1, _celu),
    "thresholded_relu": (1, lambda x, a: np.where(x > np.asarray(a[0], x.dtype), x, np.zeros((), x.dtype))),
    "sigmoid": (0, _sigmoid),
    "hard_sigmoid": (2, _hard_sigmoid),
    "hard_swish": (0, lambda x, _: (x * _hard_sigmoid(x, (1 / 6, 0.5))).astype(x.dtype)),
    "swish": (0, lambda x, _: x * _sigmoid(x, ())),
    "tanh": (0, lambda x, _: np.tanh(x)),
    "softplus": (0, _softplus),
    "softsign": (0, lambda x, _: (x / (1 + np.abs(x))).astype(x.dtype)),
    "mish": (0, lambda x, _: x * np.tanh(_softplus(x, ()))),
    "gelu": (0, _gelu),
    "gelu_tanh": (0, _gelu_tanh),
}
"""Number of arguments and definition by name, which is also the name of an operator with these attributes in order:
``clip`` takes (min, max), ``hard_sigmoid`` (alpha, beta), ``selu`` (alpha, gamma)."""


def check_activation(name: str, args: Args, type: TensorType) -> None:
    """Raise IRError unless ``name`` exists, takes this many arguments, and works on elements of ``type``."""
    if name not in ACTIVATIONS:
        raise IRError("unknown activation", expected=", ".join(ACTIVATIONS), found=name)
    if len(args) != ACTIVATIONS[name][0]:
        raise IRError(f"activation {name} takes {ACTIVATIONS[name][0]} arguments", found=len(args))
    if not type.dtype.is_float and any(map(math.isnan, args)):
        raise IRError(f"activation {name} of integers takes numbers", found="nan")


def activate(x: np.ndarray, name: str, args: Args = ()) -> np.ndarray:
    """``x`` after the activation, same shape and dtype."""
    return ACTIVATIONS[name][1](x, args)
