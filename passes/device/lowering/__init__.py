"""How each operator of a device function becomes tile operators, one file for each family."""

from collections.abc import Callable
from typing import Any

from ....ir.core import Op
from ....ir.feature_map import VIEWS
from ....ir.op import Operator
from ....ir.ops.attention import Attention
from ....ir.ops.convolution import Conv
from ....ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ....ir.ops.indexing import Gather
from ....ir.ops.movement import Concat, DepthToSpace, Slice
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ....ir.ops.quantization import Requantize
from ....ir.ops.resize import Resize
from ....ir.ops.skip_normalization import SkipLayerNorm
from ....ir.ops.unary import Unary
from .attention import lower_attention
from .convolution import lower_convolution, lower_gather
from .elementwise import lower_elementwise, lower_table
from .movement import lower_concat, lower_depth_to_space, lower_slice, lower_view
from .normalization import lower_normalization
from .pooling import lower_pooling, lower_resize
from .program import TileProgram

LOWERINGS: dict[type[Operator], Callable[[Op[Any], TileProgram], None]] = {
    Attention: lower_attention,
    Conv: lower_convolution,
    **dict.fromkeys((Add, Sub, Mul, Max, Min), lower_elementwise),
    **dict.fromkeys((Unary, Requantize), lower_table),
    Gather: lower_gather,
    SkipLayerNorm: lower_normalization,
    Concat: lower_concat,
    DepthToSpace: lower_depth_to_space,
    **dict.fromkeys(VIEWS, lower_view),
    Slice: lower_slice,
    **dict.fromkeys((MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool), lower_pooling),
    Resize: lower_resize,
}
"""Which function lowers an operator, and classes derived from it."""
