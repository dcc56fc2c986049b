"""Share a batch out: over cards, and over calls of as many images as the clusters of a card work on at once."""

from collections.abc import Sequence
from dataclasses import replace

from tilewright.errors import PassError

from ...ir.annotations import CARDS, IMAGES
from ...ir.core import Function, Module, Op, Value, is_op
from ...ir.feature_map import VIEWS
from ...ir.op import Operator
from ...ir.ops.call import Call
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.elementwise import Elementwise
from ...ir.ops.indexing import Gather
from ...ir.ops.movement import Concat, DepthToSpace, Slice, Transpose
from ...ir.ops.pooling import AveragePool, GlobalPool, MaxPool
from ...ir.ops.quantization import Requantize
from ...ir.ops.resize import Resize
from ...ir.ops.shape import Reshape
from ..base import PLACED, UNPLANNED, Pass, Record
from ..placement.device_support import map_operands
from .outline_device import device_functions

_IMAGE_BY_IMAGE = (AveragePool, Conv, ConvTranspose, DepthToSpace, Gather, GlobalPool, MaxPool, Requantize, Resize)
"""Operators whose result at an index of the first dimension follows from the operands at that index alone."""


def batch_of(module: Module) -> int:
    """How many images a network computes at once: the extent that the first dimensions of its inputs have in common;
    1 where they have none."""
    extents = {value.type.shape[0] for value in module.main.parameters if value.type.rank}
    return extents.pop() if len(extents) == 1 else 1


class ShareBatch(Pass):
    """Functions of the device become those of a share of the batch, and are called for each; annotates them with
    ``cards``, which share out the calls, and with ``images=[images of a call, images that a cluster works on]``.

    Shares are equal, and of consecutive images. A function that does not compute each image by itself, or whose tensors
    do not hold a whole number of elements of their first dimension for each share, is called once, on one card.

    Attributes:
        cards: that share the batch out; 1 leaves it on one card.
        clusters: of each card.
        images_per_cluster: how many images each cluster works on at once; 0: all clusters work on the whole batch
            together.
    """

    requires = (PLACED, UNPLANNED)
    ensures = (PLACED,)

    cards: int = 1
    clusters: int = 1
    images_per_cluster: int = 0

    def apply(self, module: Module, record: Record) -> bool:
        batch = batch_of(module)
        calls = calls_of_batch(batch, self.cards, self.clusters, self.images_per_cluster)
        if calls == self.cards == 1 and not self.images_per_cluster:
            return False
        callers = {op.operator.callee: op for op in module.main.ops if is_op(op, Call)}
        for function in device_functions(module):
            is_shared = calls > 1 and share(function, callers[function.name], calls)
            images = batch // calls if is_shared else batch
            if is_shared:
                CARDS.set(function, self.cards)
                record.counts["function"] += 1
            if self.images_per_cluster and images > 1:
                together = self.images_per_cluster if is_shared or calls == 1 else -(-images // self.clusters)
                IMAGES.set(function, (images, together))
        return True


def calls_of_batch(batch: int, cards: int, clusters: int, images_per_cluster: int) -> int:
    """How many calls compute a batch, each of equally many images. Raises PassError: it cannot be shared out evenly."""
    own = batch // cards
    if batch % cards or not own:
        raise PassError("the batch cannot be shared out evenly", expected=f"a multiple of {cards}", found=batch)
    together = clusters * images_per_cluster
    if not together or own <= together:
        return cards
    if own % together:
        expected = f"at most {together} images for each card, or a multiple of that"
        raise PassError("the images of a card cannot be shared out evenly", expected=expected, found=own)
    return cards * (own // together)


def share(function: Function, call: Op[Call], count: int) -> bool:
    """Make a function one of a share of its images, and its call one for each; False where it has no equal shares."""
    cut = _cut(function, count)
    if cut is None:
        return False
    for op in function.ops:
        if op.result in cut:
            op.operator = _of_share(op, op.result.type.shape[0] // count)
    for value in cut:
        value.type = value.type.with_shape((value.type.shape[0] // count, *value.type.shape[1:]))
    call.operator = replace(call.operator, shares=count)
    return True


def _cut(function: Function, count: int) -> set[Value] | None:
    """The values of which each share has a part of its own; all others are the same for each."""
    cut = {value for value in function.parameters if value.type.shape[0] > 1}
    if any(value.type.shape[0] % count for value in cut):
        return None
    for op in function.ops:
        operands = map_operands(op)
        if not cut.isdisjoint(operands):
            if op.result.type.shape[0] % count or not _is_image_by_image(op, [v for v in operands if v not in cut]):
                return None
            cut.add(op.result)
    return cut if cut.issuperset(function.results) else None


def _is_image_by_image(op: Op, common: Sequence[Value]) -> bool:
    """Whether a share of the result follows from the same share of the operands and from those in ``common``."""
    images = op.result.type.shape[0]
    if is_op(op, *VIEWS):
        # Images follow each other in memory, before and after.
        return not is_op(op, Transpose) or op.operator.perm[0] == 0
    if is_op(op, Elementwise):
        return all(value.type.rank < op.result.type.rank or value.type.shape[0] == 1 for value in common)
    if common or op.inputs[0].type.shape[0] != images:
        return False
    if is_op(op, Slice):
        return op.operator.step[0] == 1
    return isinstance(op.operator, _IMAGE_BY_IMAGE) or (is_op(op, Concat) and op.operator.axis > 0)


def _of_share(op: Op, images: int) -> Operator:
    """The operator with so many images."""
    operator = op.operator
    if isinstance(operator, Reshape):
        return replace(operator, shape=(images, *operator.shape[1:]))
    if isinstance(operator, Slice):
        return replace(operator, extent=(images, *operator.extent[1:]))
    if isinstance(operator, Resize):
        return replace(operator, extents=(images, *operator.extents[1:]))
    return operator
