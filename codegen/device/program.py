"""A tile program with addresses as one for the accelerator: an instruction for each tile op, and its constants."""

from collections.abc import Sequence
from dataclasses import replace

from tilewright.errors import CodegenError, IRError, TilewrightError
from tilewright.immutable import Immutable

from ...ir.annotations import ADDRESS, LAYER, PLAN, RECEIVES, REGION_BYTES, SENDS
from ...ir.core import Constant, Function, Op, Value, is_op
from ...ir.ops.call import Call
from ...ir.tile.instructions import REGIONS, Places, instruction
from ...ir.tile.normalization import LoadNormalization
from ...ir.tile.places import Enter, Leave, cluster_of, clusters_of
from ...ir.tile.transfer import Load, LoadRecord, LoadRequantization, LoadTable, LoadWeights, Move
from ...ir.tile.types import EVERY_CLUSTER
from ...runtime.artifact.manifest import FeatureMapRef
from ...runtime.isa import layouts
from ...runtime.isa.assembler import Assembler, build
from ...runtime.isa.encoding import Instruction
from ...runtime.isa.program import Program, Region, RegionKind
from ...runtime.machines.machine import PARAMETER_UNIT, Machine


class Constants:
    """Bytes in lines of 64."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._known: dict[bytes, int] = {}
        self._weights: dict[tuple[Constant, int, bool, bool], bytes] = {}

    def place(self, data: bytes) -> tuple[int, int]:
        """Address and length of bytes in the region, in lines."""
        lines = -(-len(data) // PARAMETER_UNIT)
        address = self._known.get(data)
        if address is None:
            address = self._known[data] = len(self.data) // PARAMETER_UNIT
            self.data += data + bytes(lines * PARAMETER_UNIT - len(data))
        return address, lines

    def weights(self, constant: Constant, load: LoadWeights) -> bytes:
        """Weights [outputs, inputs, rows, columns] as the array reads them. Streamed ones are packed once."""
        key = constant, load.zero, load.packed, load.depthwise
        if key not in self._weights:
            array = constant.array.transpose(0, 2, 3, 1)
            if load.depthwise:
                self._weights[key] = layouts.pack_depthwise(array, weight_zero=load.zero)
            else:
                self._weights[key] = layouts.pack_dense(array, weight_zero=load.zero, packed=load.packed)
        return self._weights[key]


class DeviceProgram(Immutable):
    """A device function in binary form.
    ``program``: instructions, regions and the machine they were made for.
    ``constants``: contents of the constants region.
    ``inputs``, ``outputs``: how the parameters from the host, and the results for it, lie in their regions, in
    order."""

    program: Program
    constants: bytes
    inputs: tuple[FeatureMapRef, ...]
    outputs: tuple[FeatureMapRef, ...]


class Assembled(Immutable):
    """A tile program as instructions that are not encoded yet."""

    function: Function
    assembler: Assembler
    constants: Constants
    places: Places

    def finish(self) -> DeviceProgram:
        """The program in binary form."""
        references = _references(self.function, self.places)
        return DeviceProgram(self.assembler.finish(), bytes(self.constants.data), *references)


def assemble(function: Function, machine: Machine) -> Assembled:
    """The instructions of a tile program whose places have addresses.
    Raises IRError: an op is none of a tile program, or a place has no address."""
    places, constants, clusters = _Addressed(), Constants(), clusters_of(function)
    printed: list[tuple[Instruction, str | None, int]] = []
    for op in function.ops:
        try:
            places.add(op)
            item = _instruction(op, places, constants, clusters)
        except TilewrightError as error:
            error.stage = error.stage or "device code"
            error.op = error.op or op.name
            error.node = error.node or op.node
            raise
        if item is not None:
            printed.append((item, LAYER.get(op), cluster_of(op)))
    plan = PLAN.get(function)
    reduced = dict(plan.reduced) if plan is not None else {}
    assembler = Assembler(machine, _regions(function, len(constants.data)), clusters, reduced)
    for item, layer, cluster in printed:
        assembler.add(item, layer, cluster=cluster)
    return Assembled(function, assembler, constants, places)


class _Addressed(Places):
    """With addresses on chip."""

    def address(self, root: Op) -> int:
        found = ADDRESS.get(root)
        if found is None:
            hint = "Run plan_scratchpads first."
            raise IRError(f"%{root.result.name} has no address on chip", op=root.name, node=root.node, hint=hint)
        return found


def _references(function: Function, places: Places) -> tuple[tuple[FeatureMapRef, ...], tuple[FeatureMapRef, ...]]:
    """How the parameters from the host, and the results for it, lie in their regions, in order."""

    def reference(value: Value) -> FeatureMapRef:
        place, (images, rows, columns, channels) = places[value], value.type.shape
        return FeatureMapRef(place.span[0], (images, rows, columns, channels), place.distances[2])

    entering = {op.inputs[0]: op.result for op in function.ops if is_op(op, Enter)}
    leaving = {op.result: op.inputs[0] for op in function.ops if is_op(op, Leave)}
    return (
        tuple(reference(entering[value]) for value in function.parameters if value in entering),
        tuple(reference(leaving[value]) for value in function.results if value in leaving),
    )


def feature_maps(
    whole: Function, functions: Sequence[Function], built: Sequence[DeviceProgram]
) -> tuple[tuple[FeatureMapRef, ...], tuple[FeatureMapRef, ...]]:
    """How the parameters and the results of what the host calls lie in the regions of the cards, in order.
    ``whole``: what it calls: the function of a card, or one that calls those of several.
    ``functions``: what each card runs.
    ``built``: the same in binary form."""
    if whole in functions:
        return built[0].inputs, built[0].outputs
    maps: dict[Value, FeatureMapRef] = {}
    calls = {op.operator.callee: op for op in whole.ops if is_op(op, Call)}
    for card, (function, program) in enumerate(zip(functions, built, strict=True)):
        call = calls[function.name]
        for values, crossing, references in (
            (call.inputs, RECEIVES.get(function), program.inputs),
            (call.results, SENDS.get(function), program.outputs),
        ):
            crossed = {end.position for end in crossing or ()}
            own = [value for position, value in enumerate(values) if position not in crossed]
            maps.update((value, replace(ref, card=card)) for value, ref in zip(own, references, strict=True))
    return tuple(maps[value] for value in whole.parameters), tuple(maps[value] for value in whole.results)


_LOADED = (LoadWeights, LoadRequantization, LoadNormalization, LoadTable, LoadRecord)
"""What loads constants."""


def _instruction(op: Op, places: Places, constants: Constants, clusters: int) -> Instruction | None:
    found = instruction(op, places)
    if found is None:
        return None
    name, fields = found
    if is_op(op, Load, *_LOADED):
        # Who gets what is loaded: 0 is who loads it.
        is_shared = op.operator.cluster == EVERY_CLUSTER and clusters > 1
        fields["clusters"] = (1 << clusters) - 1 if is_shared else 0
    if is_op(op, Move) and op.operator.cluster == EVERY_CLUSTER:
        fields["clusters"] = (1 << clusters) - 1 - (1 << cluster_of(op))
    if is_op(op, *_LOADED):
        address, lines = constants.place(_packed(op, constants))
        fields |= {"region": REGIONS.index("constants"), "offset": address, "length": lines}
    return build(name, fields)


def _packed(op: Op, constants: Constants) -> bytes:
    """The bytes that an op loads, which are constant."""
    if is_op(op, LoadRecord):
        return layouts.pack_record(**op.operator.words)
    loaded = [value for value in op.inputs if isinstance(value, Constant)]
    if len(loaded) != len(op.inputs):
        raise CodegenError("what is loaded for an instruction must be constant", found=op.inputs)
    if is_op(op, LoadWeights):
        return constants.weights(loaded[0], op.operator)
    arrays = [value.array for value in loaded]
    if is_op(op, LoadNormalization):
        return layouts.pack_normalization(layouts.NormalizationParameters(*arrays))
    return layouts.pack_table(arrays[0]) if is_op(op, LoadTable) else layouts.pack_requantize(*arrays)


def _regions(function: Function, constants: int) -> list[Region]:
    kinds = (RegionKind.CONSTANT, RegionKind.SCRATCH, RegionKind.INPUT, RegionKind.OUTPUT)
    sizes = (constants, *(REGION_BYTES[region].get(function) or 0 for region in REGIONS[1:]))
    return [Region(name, kind, size) for name, kind, size in zip(REGIONS, kinds, sizes, strict=True)]
