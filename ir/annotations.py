"""Annotations: what passes decide about ops and functions beside their meaning, each declared once.

They print as ``[on=device, region=0]`` behind the op. Passes write them by :meth:`Annotation.set`, whoever needs them
reads them by :meth:`Annotation.get`, and :func:`tilewright.ir.verify.verify` holds modules to the declarations.
"""

from typing import Any, Generic, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from tilewright.errors import IRError

from .core import Function, Op
from .op import coerce
from .text import literals as text

T = TypeVar("T", bound=text.Literal)
Owner = Union[Op, Function]

ANNOTATIONS: "dict[str, Annotation[Any]]" = {}
"""Every annotation by its key."""


class Annotation(Generic[T]):
    """One kind of annotation.
    ``key``: its name in the textual form.
    ``owners``: what it may stand at."""

    def __init__(self, key: str, type: Any, *owners: type[Op] | type[Function]) -> None:
        self.key = key
        self.type = type
        self.owners = owners
        # Most are read very often, and need no more than a look.
        self._words = get_args(type) if get_origin(type) is Literal else ()
        ANNOTATIONS[key] = self

    def get(self, owner: Owner) -> T | None:
        """The value; ``None`` where there is none, or one of another type in a module that nobody verified."""
        value: Any = owner.annotations.get(self.key)
        if value is None or type(value) is self.type or value in self._words:
            return value
        try:
            return coerce(value, self.type)
        except IRError:
            return None

    def set(self, owner: Owner, value: T) -> None:
        owner.annotations[self.key] = value

    def drop(self, owner: Owner) -> None:
        """Forget the value, if there is one."""
        owner.annotations.pop(self.key, None)

    def is_at(self, owner: Owner) -> bool:
        """Whether ``owner`` has the annotation, of whatever type."""
        return self.key in owner.annotations


class MapAddress(NamedTuple):
    """Where a feature map lies in the memory of the device.

    Attributes:
        region: of the device program.
        offset: byte of channel 0 of pixel (0, 0) of image 0 inside the region.
        pixel: bytes from pixel to pixel; rows and images follow without gaps.
        padded: whether the bytes up to the next multiple of 16 channels belong to the map as well.
    """

    region: Literal["scratch", "input", "output"]
    offset: int
    pixel: int
    padded: bool


class MapPlace(NamedTuple):
    """Where the result of an op of a device function lies from the op that makes it to its last use.

    Attributes:
        memory: ``ring`` for what is on chip with only those rows that are still needed, ``none`` for what goes into
            another op tile by tile.
        rows: on chip, how many rows each cluster holds, those of all images together; of a ring, its rows.
        inside: name of the map on chip that it lies in; empty where it lies in no other one.
        why: why it is not on chip, in words that follow its name.
    """

    memory: Literal["chip", "ring", "dram", "none"]
    rows: tuple[int, ...]
    inside: str
    why: str


PlannedOrder = Literal["written", "layers", "tiles"]
"""Of instructions, see `Plan`."""


class Plan(NamedTuple):
    """What the device's schedule of a function is made for: the machine, or less of it.

    Attributes:
        clusters: how many work on an image.
        kept_share: of the maps scratchpad of a cluster, what maps may take that stay there from op to op.
        reduced: fields of the machine that the schedule takes to be smaller than they are, and these values.
        cascades: whether ops may be computed in turn, stripe of rows by stripe of rows.
        tiles: results whose tiles are others than prices say; rows, columns, blocks of 16 channels of result and
            operand; and what clusters share out, ``None`` for what prices say.
        order: of instructions: ``written``, one layer after the other; ``layers``, where these overlap and tiles of
            each keep their places, as they do on one cluster; ``tiles``, where these change places, too.
    """

    clusters: int
    kept_share: float
    reduced: tuple[tuple[str, int], ...] = ()
    cascades: bool = False
    tiles: "tuple[PlannedTile, ...]" = ()
    order: PlannedOrder = "tiles"


class MessageEnd(NamedTuple):
    """A parameter or a result of a function of one card that crosses from card to card.
    ``position``: among the parameters, or the results, of the function.
    ``card``: the other one.
    ``tag``: of the messages from one card to the other, which it is."""

    position: int
    card: int
    tag: int


class OpenExtent(NamedTuple):
    """A dimension of a result of ``main`` of which the run says how much is there.
    ``result``: position of the result.
    ``said_by``: position of the result that says it, i64[]."""

    result: int
    axis: int
    said_by: int


class Observed(NamedTuple):
    """An output, or a value in the middle of the network that is one to be looked at.

    Attributes:
        name: of the output, which is that of the tensor of the model.
        is_output: whether it is one of the network.
        op, nodes: the operator that computes it, and the nodes of the model that it came from.
        inputs: names of the nearest inputs and other such values that it is computed of.
        dtype, scale, zero_point: of the integers that its numbers are stored in, before they were made real;
            ``None`` where there are none, or not one scale for all.
    """

    name: str
    is_output: bool
    op: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


class Reason(NamedTuple):
    """Why an op does not run on the device.
    ``rule``: what decided it, in words, such as the rule that the op breaks.
    ``tensor``: the operand or result that breaks the rule, as ``%name`` or ``@name``; empty where all of the op counts.
    ``found``: what was found instead of what the rule asks for, or the figures behind the decision; empty where the
    rule says it all."""

    rule: str
    tensor: str
    found: str

    def text(self, op: str) -> str:
        """As users read it, of an op of this operator."""
        if not self.found:
            return self.rule
        return f"{op} {self.tensor}: {self.rule}; found {self.found}" if self.tensor else f"{self.rule}: {self.found}"


Place = Literal["device", "cpu"]
Stationary = Literal["weights", "inputs"]
Split = Literal["rows", "channels", "images"]
PlannedTile = tuple[str, tuple[int, int, int, int], Union[Split, None]]

ON = Annotation[Place]("on", Place, Op, Function)
"""Where the op runs; a function ``on=device`` is what the device runs at one call."""

WHY = Annotation[Union[str, Reason]]("why", Union[str, Reason], Op)
"""Why it runs there; in one sentence, or with what was found."""

REGION = Annotation[int]("region", int, Op)
"""Number of the ops of ``main`` that the device runs at one call, or of the call itself."""

MACS = Annotation[int]("macs", int, Op)
"""Multiply-accumulates that count, of an op that multiplies zeros besides."""

PART = Annotation[int]("part", int, Op)
"""How many outputs of a block the device may make alone, at least, of what multiplies by weights; without it eight."""

TILE = Annotation["tuple[int, int, int, int]"]("tile", tuple[int, int, int, int], Op)
"""Rows, columns, output blocks and input blocks that the device computes at once."""

STATIONARY = Annotation[Stationary]("stationary", Stationary, Op)
"""Whether a convolution on the device is weight stationary, which keeps a block of weights, or input stationary."""

SPLIT = Annotation[Split]("split", Split, Op)
"""What of the result the clusters of the device share out; without it one of them does all."""

CLUSTERS = Annotation[int]("clusters", int, Function)
"""How many clusters work on a call; 1 without it."""

IMAGES = Annotation["tuple[int, int]"]("images", tuple[int, int], Function)
"""How many images a call computes, and how many of them each cluster works on; without it all clusters work on each."""

CARDS = Annotation[int]("cards", int, Function)
"""How many cards share out the calls that compute a batch; 1 without it."""

CARD = Annotation[int]("card", int, Function)
"""Which of the cards runs the function together with the others that its caller calls; without it, one does alone."""

SENDS = Annotation["tuple[MessageEnd, ...]"]("sends", tuple[MessageEnd, ...], Function)
"""The results that go to other cards; all others are for the host."""

RECEIVES = Annotation["tuple[MessageEnd, ...]"]("receives", tuple[MessageEnd, ...], Function)
"""The parameters that come from other cards; all others are from the host."""

KEPT = Annotation[bool]("kept", bool, Op)
"""Whether the result stays in the scratchpads of the device until its last use, and never reaches DRAM."""

PITCH = Annotation[int]("pitch", int, Op)
"""Pixels from row to row of a result that is kept, where these are more than a row has."""

MAP = Annotation[MapPlace]("map", MapPlace, Op)
"""Where the result lies, and why."""

CASCADE = Annotation["tuple[int, int]"]("cascade", tuple[int, int], Op)
"""Number of the cascade whose ops are computed in turn, stripe of rows by stripe of rows, and the op's place in it; of
an op of a tile program, those of the op that it is a piece of."""

FUSED = Annotation[bool]("fused", bool, Op)
"""Whether the result of a convolution goes into the op that reads it tile by tile, and is nowhere as a whole."""

PLAN = Annotation[Plan]("plan", Plan, Function)
"""What its schedule is made for; without it the machine, and what the passes say."""

OVER = Annotation[int]("over", int, Op)
"""Number of the operand over which the result is written where both stay in the scratchpads."""

DRAM = Annotation[MapAddress]("dram", MapAddress, Op)
"""Where the result lies in the memory of the device."""

LAYER = Annotation[str]("layer", str, Op)
"""Of an op of a tile program, name of the result of the op of the network that it is a piece of."""

ADDRESS = Annotation[int]("address", int, Op)
"""Of an op of a tile program that makes a place on chip, the byte of its scratchpad at which the place begins."""

INPUTS = Annotation["tuple[MapAddress, ...]"]("inputs", tuple[MapAddress, ...], Function)
"""Where each parameter lies in the memory of the device."""

REGION_BYTES = {region: Annotation[int](f"{region}_bytes", int, Function) for region in ("scratch", "input", "output")}
"""Sizes of the regions of a device function."""

SCRATCHPAD_BYTES = {
    memory: Annotation[int](f"{memory}_bytes", int, Function)
    for memory in ("maps", "weights", "accumulators", "parameters")
}
"""How much of the scratchpads of a cluster a tile program uses."""

AT = Annotation["tuple[int | None, ...]"]("at", tuple[Union[int, None], ...], Op)
"""Byte of the arena at which each result begins, ``None`` for what lies outside it: an output, an alias of an input."""

ALIAS = Annotation[int]("alias", int, Op)
"""The operand at whose first byte the result begins, so that the op has nothing to do."""

ARENA_BYTES = Annotation[int]("arena_bytes", int, Function)
"""Size of the memory for the intermediate results of the CPU."""


EXTENTS = Annotation["tuple[OpenExtent, ...]"]("extents", tuple[OpenExtent, ...], Function)
"""Which results of ``main`` are cut to an extent that others say, which stand behind all that users see."""


OBSERVED = Annotation["tuple[Observed, ...]"]("observed", tuple[Observed, ...], Function)
"""What the outputs of ``main`` stand for, where values in the middle of the network are among them."""


def annotation_error(owner: Owner) -> IRError | None:
    """What is wrong with the annotations of an op or function, ``None`` if nothing is."""
    for key, value in owner.annotations.items():
        declared = ANNOTATIONS.get(key)
        if declared is None or not isinstance(owner, declared.owners):
            known = ", ".join(name for name, each in ANNOTATIONS.items() if isinstance(owner, each.owners))
            return IRError("no such annotation", expected=f"one of {known}", found=key)
        try:
            coerce(value, declared.type)
        except IRError as error:
            return IRError(f"annotation {key!r} is of the wrong type", expected=error.expected, found=error.found)
    return None
