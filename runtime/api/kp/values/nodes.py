"""Values that hold the outputs of a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..enums import ChannelOrdering, FixedPointDType
from ..exceptions import MemberValueError
from ..members import Member, Value, array, enumeration, integer, lines, number, signed


@dataclass(repr=False, eq=False)
class InferenceFloatNodeOutput(Value):
    """An output of a model as real numbers.

    Attributes:
        width, height, channel: its extents.
        num_data: how many numbers there are.
        data: the numbers, of any shape, in the order that ``channels_ordering`` says.
        channels_ordering: the order of its dimensions; DEFAULT counts as CHW.
    """

    width: Member[int] = integer(0)
    height: Member[int] = integer(0)
    channel: Member[int] = integer(0)
    num_data: Member[int] = integer(0)
    data: Member[np.ndarray] = array()
    channels_ordering: Member[ChannelOrdering] = enumeration(ChannelOrdering.KP_CHANNEL_ORDERING_CHW)

    @property
    def ndarray(self) -> np.ndarray:
        """The numbers as a new array of shape (1, C, H, W), (1, H, C, W) or (1, H, W, C), by ``channels_ordering``.

        Raises:
            MemberValueError: there are more or fewer than the extents ask for.
        """
        return arranged(self)

    def get_member_variable_dict(self) -> dict:
        """Extents, order, and the array as lines of NumPy's text."""
        return _with_array(self, super().get_member_variable_dict())


@dataclass(repr=False, eq=False)
class InferenceFixedNodeOutput(Value):
    """An output of a model as the integers that it computes: real = fixed * factor.

    Attributes:
        width, height, channel: its extents.
        radix: binary digits after the point; may be negative.
        scale: what integers are divided by besides.
        factor: 1 / (scale * 2 ** radix).
        num_data: how many integers there are.
        data: the integers, of any shape, in the order that ``channels_ordering`` says.
        channels_ordering: the order of its dimensions; DEFAULT counts as CHW.
        dtype: of the integers, which API 2.x tells.
    """

    width: Member[int] = integer(0)
    height: Member[int] = integer(0)
    channel: Member[int] = integer(0)
    radix: Member[int] = signed(0)
    scale: Member[float] = number(0.0)
    factor: Member[float] = number(0.0)
    num_data: Member[int] = integer(0)
    data: Member[np.ndarray] = array()
    channels_ordering: Member[ChannelOrdering] = enumeration(ChannelOrdering.KP_CHANNEL_ORDERING_CHW)
    dtype: Member[FixedPointDType] = enumeration(FixedPointDType.KP_FIXED_POINT_DTYPE_UNKNOWN)

    @property
    def ndarray(self) -> np.ndarray:
        """The integers as a new array of shape (1, C, H, W), (1, H, C, W) or (1, H, W, C), by ``channels_ordering``.

        Raises:
            MemberValueError: there are more or fewer than the extents ask for.
        """
        return arranged(self)

    def to_float_node_output(self) -> InferenceFloatNodeOutput:
        """The same as real numbers in float32, which are those that retrieving the node as such gives.

        Original: in float64.
        """
        real = (self.data * np.float64(self.factor)).astype(np.float32)
        return InferenceFloatNodeOutput(
            self.width, self.height, self.channel, self.num_data, real, self.channels_ordering
        )

    def get_member_variable_dict(self) -> dict:
        """Extents, how integers become real numbers, order, and the array as lines of NumPy's text."""
        return _with_array(self, super().get_member_variable_dict())


def arranged(node: InferenceFloatNodeOutput | InferenceFixedNodeOutput) -> np.ndarray:
    """The numbers of a node as a new array of four dimensions, by its ordering."""
    height, width, channel = node.height, node.width, node.channel
    ordering = node.channels_ordering
    if ordering is ChannelOrdering.KP_CHANNEL_ORDERING_HCW:
        shape = (1, height, channel, width)
    elif ordering is ChannelOrdering.KP_CHANNEL_ORDERING_HWC:
        shape = (1, height, width, channel)
    else:
        shape = (1, channel, height, width)
    count = height * width * channel
    if node.data.size != count:
        expected = f"{count} numbers, width {width} by height {height} by channel {channel}"
        raise MemberValueError("the data do not fill the node", expected=expected, found=node.data.size)
    return node.data.reshape(shape).copy()


def _with_array(node: InferenceFloatNodeOutput | InferenceFixedNodeOutput, shown: dict) -> dict:
    """What is shown of a node: its attributes in the order of the original, and the array instead of the data."""
    order = ("width", "height", "channel", "radix", "scale", "factor", "channels_ordering", "dtype", "num_data")
    return {**{name: shown[name] for name in order if name in shown}, "ndarray": lines(node.ndarray)}
