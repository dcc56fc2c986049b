"""The tile program of a device function while it is written: places of its maps, constants, tiles in and out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import Any, overload

import numpy as np

from tilewright.errors import PassError, ResourceError
from tilewright.limits import DEVICE_INSTRUCTIONS

from ....ir.annotations import CASCADE, CLUSTERS, DRAM, INPUTS, LAYER, RECEIVES, SENDS, SPLIT, MapAddress, MessageEnd
from ....ir.core import Constant, Function, Module, Op, Value
from ....ir.feature_map import VIEWS, WIDE, MapShape, computed_map, map_shape, read_map
from ....ir.op import Operator
from ....ir.text.literals import Literal, digest_of
from ....ir.tile import places
from ....ir.tile.compute import Pool
from ....ir.tile.places import Part, Phase
from ....ir.tile.transfer import Load, LoadRecord, Move, Receive, Send, Store
from ....ir.tile.types import EVERY_CLUSTER
from ....ir.types import DType
from ....runtime.machines.machine import CHANNEL_BLOCK
from ..boxes import Span, lanes_of
from ..kept.apart import slices_apart
from ..kept.chip_places import Rows, copied, part_of
from ..kept.kept_maps import holdings, is_read_where_made, kept_values, root_of
from ..planning.plan_device_memory import parts_of
from .chip_map import ChipMap, ChipStorage, through_images

STORE = Store()


class TileProgram:
    """Tile ops, written one after the other behind the ops of a function, which they will replace.
    ``cluster``: whose scratchpads the next ones use.
    ``everywhere``: what parameters are loaded for: all clusters that work on the op.
    ``shared``: the constants of tile programs of the module so far, by element type, shape and contents.
    Raises PassError: the function has no memory plan."""

    def __init__(self, module: Module, function: Function, shared: dict[tuple[Any, ...], Constant]) -> None:
        self._module = module
        self._function = function
        self._shared = shared
        self._parts = parts_of(function)
        self._places: dict[Value, Value] = {}
        self._boxes: dict[tuple[Value, Operator], Value] = {}
        self._kept = kept_values(function)
        self._unmoved = {value for value in self._kept if is_read_where_made(value)}
        ops, clusters = [*function.ops], CLUSTERS.get(function) or 1
        held = holdings(ops, clusters, self._kept)
        self._storage = {root: ChipStorage(root, each, slices_apart(root, self._kept)) for root, each in held.items()}
        self._read = {root: each.read for root, each in holdings(ops, clusters, self._kept, Rows(part_of)).items()}
        self._loc: tuple[str, ...] = ()
        self._annotations: dict[str, Literal] = {}
        self._layer = ""
        self.count = 0
        self.cluster = 0
        self.everywhere = 0
        inputs = INPUTS.get(function)
        if inputs is None or len(inputs) != len(function.parameters):
            name, hint = f"@{function.name}", "Run plan_device_memory first."
            raise PassError("the device function has no memory plan", op=name, hint=hint)
        self._addresses = dict(zip(function.parameters, inputs, strict=True))
        self._sends: dict[Value, list[MessageEnd]] = {}
        for end in SENDS.get(function) or ():
            self._sends.setdefault(function.results[end.position], []).append(end)
        self._sent: dict[int, Value] = {}
        received = {end.position: end for end in RECEIVES.get(function) or ()}
        for position, value in enumerate(function.parameters):
            end = received.get(position)
            if end is None:
                place = self._add(places.Enter(), value, name=value.name)
            else:
                self._annotations = {LAYER.key: value.name}
                place = self._add(Receive(end.card, end.tag), value, name=value.name)
                self.count += 1
                self._annotations = {}
            self._annotate(place, self._addresses[value])
            self._places[value] = place

    def begin(self, op: Op) -> None:
        """What follows computes ``op``."""
        self._loc = op.loc
        self._layer = op.result.name
        cascade = {CASCADE.key: op.annotations[CASCADE.key]} if CASCADE.is_at(op) else {}
        self._annotations = {LAYER.key: self._layer, **cascade}
        self._boxes.clear()
        self.cluster = 0
        self.everywhere = EVERY_CLUSTER if SPLIT.is_at(op) else 0

    @contextmanager
    def within(self, op: Op) -> Iterator[None]:
        """What follows in the block computes ``op``, in between."""
        before = self._loc, self._layer, self._annotations
        self._loc, self._layer = op.loc, op.result.name
        self._annotations = {**self._annotations, LAYER.key: self._layer}
        try:
            yield
        finally:
            self._loc, self._layer, self._annotations = before

    def send(self, value: Value) -> None:
        """Send the map of a value to the cards that take it, now that all of it is there."""
        for end in self._sends.get(value, ()):
            shape = tuple(value.type.shape)
            op = Op(
                *(Send(shape, end.card, end.tag), [self.place(value)], [value.type]),
                names=[value.name],
                loc=self._loc,
                annotations=self._annotations,
            )
            self.count += 1
            self._sent[end.position] = self._function.insert(op).result

    def finish(self) -> list[Value]:
        """The results of the function: those that are not sent leave for the host."""
        self._loc, self._annotations = (), {}
        results: list[Value] = []
        for position, value in enumerate(self._function.results):
            if position in self._sent:
                results.append(self._sent[position])
                continue
            leave = Op(places.Leave(value.type.shape), [self.place(value)], [value.type], names=[value.name])
            results.append(self._function.insert(leave).result)
        return results

    def add(self, operator: Operator, *operands: Value | None) -> Value:
        """Append an op that becomes an instruction.
        Raises ResourceError: there are more of them than a program may have."""
        self.count += 1
        if self.count > DEVICE_INSTRUCTIONS:
            raise ResourceError(
                "the device program is too long",
                stage="device code",
                expected=f"at most {DEVICE_INSTRUCTIONS} {DEVICE_INSTRUCTIONS.what}",
                hint="Keep its largest operators on the CPU with --affinity.",
            )
        return self._add(operator, *operands)

    def _add(self, operator: Operator, *operands: Value | None, name: str = "") -> Value:
        names = [name] if name else ()
        op = Op(operator, operands, names=names, loc=self._loc, annotations=self._annotations)
        return self._function.insert(op).results[0]

    def _annotate(self, place: Value, address: MapAddress) -> None:
        assert place.producer is not None
        DRAM.set(place.producer, address)

    # Places

    def address(self, value: Value) -> MapAddress:
        """Where the map of a value lies in DRAM. Raises PassError: it has no address."""
        producer = value.producer
        address = self._addresses.get(value) if producer is None else DRAM.get(producer)
        if address is None:
            raise PassError(f"%{value.name} has no address in device memory", hint="Run plan_device_memory first.")
        return address

    def is_packed(self, value: Value) -> bool:
        """Whether pixels follow each other in DRAM without padding although their channels fill no block.

        What :func:`tilewright.ir.feature_map.is_packed` decided: users change as ops are lowered, addresses stay."""
        channels = map_shape(value.type).channels
        return channels % CHANNEL_BLOCK != 0 and self.address(value).pixel == channels

    def owner(self, value: Value) -> Value | None:
        """The value in whose map the map of ``value`` lies, ``None`` if it has memory of its own."""
        part = self._parts.get(value)
        return part[0] if part is not None else None

    def place(self, value: Value) -> Value:
        """The map of a value in DRAM, [images, rows, columns, channels]."""
        # Owners first: they may be nested as deep as the network.
        pending = [value]
        while pending:
            current = pending[-1]
            owner = self.owner(current)
            if current in self._places:
                pending.pop()
            elif owner is not None and owner not in self._places:
                pending.append(owner)
            else:
                self._places[current] = self._make_place(current)
        return self._places[value]

    def _make_place(self, value: Value) -> Value:
        shape = map_shape(value.type)
        if value in self._parts:
            owner, channel = self._parts[value]
            if value.producer is not None and isinstance(value.producer.operator, VIEWS):
                return self.reshaped(self._places[owner], shape)
            return self.channels(self._places[owner], channel, shape.channels)
        address = self.address(value)
        # Only what the host and other cards read and write holds u8 as such.
        dtype = value.type.dtype if address.region == "output" or value in self._sends else DType.I8
        buffer = places.Buffer(tuple(shape), DType.I8 if dtype in WIDE else dtype, "dram", EVERY_CLUSTER, 0)
        place = self._add(buffer, name=value.name)
        self._annotate(place, address)
        return place

    def map(self, value: Value) -> Value | ChipMap:
        """The map of a value, wherever it lies."""
        if value not in self._kept:
            return self.place(value)
        root, own = root_of(value, self._kept), root_of(value, self._kept, part_of)
        read = tuple([span and (span[0] + root.row - own.row, span[1]) for span in self._read[own.whole]])
        if value in self._unmoved:
            read = (None,) * len(read)
        return ChipMap(self._storage[root.whole], map_shape(value.type), read, *root[1:])

    def maps(self, op: Op, *operands: Value) -> list[Value | ChipMap]:
        """The maps of operands and of the result of an op that is no product, as it reads and makes them."""
        shapes = [*((value, read_map(op, value)) for value in operands), (op.result, computed_map(op))]
        return [self.reshaped(self.map(value), shape) for value, shape in shapes]

    def copied(self, op: Op) -> list[Value]:
        """The operands that an op reads; see :func:`tilewright.passes.device.kept.chip_places.copied`."""
        return copied(op, self._kept)

    def shape(self, place: Value | ChipMap) -> MapShape:
        """Images, rows, columns and channels of a map."""
        return place.shape if isinstance(place, ChipMap) else MapShape(*place.type.shape)

    @overload
    def reshaped(self, place: Value, shape: MapShape) -> Value: ...
    @overload
    def reshaped(self, place: Value | ChipMap, shape: MapShape) -> Value | ChipMap: ...
    def reshaped(self, place: Value | ChipMap, shape: MapShape) -> Value | ChipMap:
        """A map with its pixels as other images, rows and columns; on chip, where they are counted through the images,
        with images as rows of one."""
        if isinstance(place, ChipMap):
            assert shape.width == place.shape.width, "rows on chip stay rows"
            return replace(place, shape=shape)
        if place.type.shape == shape:
            return place
        return self._add(places.Reshape(tuple(shape)), place)

    @overload
    def channels(self, place: Value, first: int, count: int) -> Value: ...
    @overload
    def channels(self, place: Value | ChipMap, first: int, count: int) -> Value | ChipMap: ...
    def channels(self, place: Value | ChipMap, first: int, count: int) -> Value | ChipMap:
        """Channels of all pixels of a map."""
        if isinstance(place, ChipMap):
            return replace(place, shape=place.shape._replace(channels=count), channel=place.channel + first)
        if first == 0 and count == place.type.shape[3]:
            return place
        _, height, width, _ = place.type.shape
        return self._add(Part(-1, (0, height), (0, width), (first, count)), place)

    def phase(self, place: Value, step: int, first: tuple[int, int]) -> Value:
        """Every so many rows and columns of a map in DRAM, or of a box on chip."""
        return self._add(Phase((step, step), first), place)

    def part(self, place: Value, box: Part) -> Value:
        """A box of a map in DRAM; the same one where an op reads it several times."""
        found = self._boxes.get((place, box))
        if found is None:
            found = self._boxes[place, box] = self._add(box, place)
        return found

    # Tiles

    def tiles(self, op: Op, shape: MapShape | None = None) -> Iterator[Part]:
        """The tiles of an op's result, or of a part of it, those of the clusters that share it out in turn."""
        lanes = lanes_of(op, shape or map_shape(op.result.type))
        for boxes in zip_longest(*(lane.boxes(lane.slices) for lane in lanes)):
            for lane, box in zip(lanes, boxes, strict=True):
                if box is not None:
                    self.cluster = lane.cluster
                    yield box

    def load(self, place: Value | ChipMap, box: Part, *, packed: bool = False) -> Value:
        """A box of a map, on chip."""
        if isinstance(place, ChipMap):
            return self.held(place, box)
        return self.add(Load(self.cluster, packed), self.part(place, box))

    def store(self, place: Value | ChipMap, box: Part, operator: Operator, *operands: Value | None) -> None:
        """What an operator makes as a box of a map: stored, or left on chip and moved to the clusters that read it."""
        if not isinstance(place, ChipMap):
            self.add(STORE, self.add(operator, *operands), self.part(place, box))
            return
        self.make(self.held(place, box), operator, *operands)
        self.hand_on(place, box)

    def hand_on(self, place: ChipMap, box: Part) -> None:
        """Move a box of a map that stays on chip, which this cluster has made, to the others that read it."""
        storage, (first, count), *across = through_images(place, box)
        is_common = storage.is_common and len({*place.read}) == 1
        receivers = [(EVERY_CLUSTER, place.read[0])] if is_common else enumerate(place.read)
        for cluster, span in receivers:
            if span is None or cluster == self.cluster:
                continue
            low, high = max(first, span[0]), min(first + count, sum(span))
            if low < high:
                rows = low, high - low
                own, other = (self._buffered(storage, each, rows, *across) for each in (self.cluster, cluster))
                self.add(Move(cluster), own, other)

    def make(self, into: Value | None, operator: Operator, *operands: Value | None) -> Value:
        """What an operator makes, in a place, which is its last operand, or anywhere."""
        assert operator.OPERANDS is not None
        absent = len(operator.OPERANDS) - 1 - len(operands)
        return self.add(operator, *operands, *[None] * absent, into)

    def copy(self, source: Value | ChipMap, read: Part, target: Value | ChipMap, box: Part) -> None:
        """A box of a map as a box of another one, of as many rows, columns and channels."""
        if isinstance(target, ChipMap):
            self.store(target, box, *self.copied_to_chip(source, read))
        else:
            self.add(STORE, self.load(source, read), self.part(target, box))

    def copied_to_chip(self, source: Value | ChipMap, read: Part) -> tuple[Operator, Value]:
        """What makes a box of a map again on chip, and of what."""
        if not isinstance(source, ChipMap):
            return Load(self.cluster, False), self.part(source, read)
        # The vector unit copies what it takes the maximum of one element of.
        size = read.rows[1], read.columns[1]
        return Pool("maximum", size, (1, 1), (1, 1), (0, 0), False), self.load(source, read)

    def held(self, place: ChipMap, box: Part) -> Value:
        """A box of a map that stays on chip."""
        storage, *spans = through_images(place, box)
        return self._buffered(storage, self.cluster, *spans)

    def _buffered(self, storage: ChipStorage, cluster: int, rows: Span, columns: Span, channels: Span) -> Value:
        """A box of what is stored, rows counted through the images, where a cluster holds it, or every one."""
        span = storage.rows[max(cluster, 0)]
        assert span is not None
        slices = enumerate(storage.slices)
        number, begin, count = next((i, *each) for i, each in slices if channels[0] < sum(each))
        for each in (EVERY_CLUSTER, cluster) if storage.is_common else (cluster,):
            if (each, number) not in storage.buffers:
                common = [storage.buffers[EVERY_CLUSTER, number]] if (EVERY_CLUSTER, number) in storage.buffers else []
                buffer = places.Buffer((span[1], storage.pitch, count), DType.I8, "maps", each, 0)
                storage.buffers[each, number] = self._add(places.InCluster(each) if common else buffer, *common)
        within = rows[0] - span[0], rows[1]
        box = Part(-1, within, columns, (channels[0] - begin, channels[1]))
        return self.part(storage.buffers[cluster, number], box)

    def load_record(self, **words: float) -> Value:
        """The numbers of pooling or arithmetic."""
        return self.add(LoadRecord(self.everywhere, **words))  # pyright: ignore[reportArgumentType]

    def constant(self, role: str, array: np.ndarray) -> Constant:
        """A constant of the module, named by the layer; the one that is there if it has the same contents."""
        key = (array.dtype.char, array.shape, digest_of(array))
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = self._module.add_constant(f"{self._layer}.{role}", array)
        return found
