"""Imports every family of CPU kernels, which fills the registry. Earlier families are asked first."""

# isort: off
from . import convolution, elementwise, layout, matmul, normalization, pooling, softmax
from . import generic_elementwise, generic_indexing, generic_lines, generic_movement
from . import generic_integer_products, generic_quantization
from . import generic_normalization, generic_pad, generic_pooling, generic_products, generic_reduction, generic_resize
from . import generic_softmax
from . import quantized_convolution, quantized_depthwise, quantized_elementwise
from . import quantized_generic, quantized_generic_pooling, quantized_matrix, quantized_pooling
# isort: on

__all__ = [
    "convolution",
    "elementwise",
    "generic_elementwise",
    "generic_indexing",
    "generic_integer_products",
    "generic_lines",
    "generic_movement",
    "generic_normalization",
    "generic_pad",
    "generic_pooling",
    "generic_products",
    "generic_quantization",
    "generic_reduction",
    "generic_resize",
    "generic_softmax",
    "layout",
    "matmul",
    "normalization",
    "pooling",
    "quantized_convolution",
    "quantized_depthwise",
    "quantized_elementwise",
    "quantized_generic",
    "quantized_generic_pooling",
    "quantized_matrix",
    "quantized_pooling",
    "softmax",
]
