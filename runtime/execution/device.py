"""Running device stages: the host's side of the accelerator, which here is its functional simulator.

The host lays each input out as the program expects it, runs the program, and takes the outputs apart again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from tilewright.errors import ArtifactError, InstructionError, MachineError

from ..artifact.artifact import Artifact
from ..artifact.manifest import DeviceStage, Engine, FeatureMapRef, StepInfo
from ..profile import StepTime
from .buffers import Buffers, bytes_of
from .cpu import CodePolicy

if TYPE_CHECKING:
    from ..isa.program import Program
    from ..machines.machine import Machine

CHANNEL_BLOCK = 16
"""Channels that lie together on the device."""

_CONSTANTS, _INPUT, _OUTPUT = "constants", "input", "output"
"""Names of the regions that the host fills and reads."""


def as_map(array: np.ndarray) -> np.ndarray:
    """A tensor as u8[images, rows, columns, channels]: rank 4 is NCHW, 3 a row of pixels, 2 pixels by channels.

    One of 16 bits stays so."""
    array = array.view(f"u{array.itemsize}")
    if array.ndim == 4:
        return array.transpose(0, 2, 3, 1)
    if array.ndim == 3:
        return array.transpose(0, 2, 1)[:, None]
    return array[None, None]


def in_bytes(map: np.ndarray) -> np.ndarray:
    """A map as the device holds it, of bytes: of 16 bits, each block of 16 channels is two, of the upper bytes and of
    the lower ones less 128. The last block is filled up with 0."""
    if map.itemsize == 1:
        return map
    filled = np.pad(map, [*[(0, 0)] * 3, (0, -map.shape[3] % CHANNEL_BLOCK)])
    blocks = filled.reshape(*map.shape[:3], -1, 1, CHANNEL_BLOCK)
    pairs = np.concatenate([blocks >> 8, blocks & 255 ^ 128], axis=-2)
    return pairs.astype(np.uint8).reshape(*map.shape[:3], -1)


def of_bytes(bytes: np.ndarray, map: np.ndarray) -> None:
    """Fill a map with what the device holds."""
    if map.itemsize == 1:
        map[...] = bytes
        return
    pairs = bytes.reshape(*bytes.shape[:3], -1, 2, CHANNEL_BLOCK).astype(map.dtype)
    numbers = pairs[..., 0, :] << 8 | pairs[..., 1, :] ^ 128
    map[...] = numbers.reshape(*bytes.shape[:3], -1)[..., : map.shape[3]]


def check_machine(artifact: Artifact, engine: Engine, machine: Machine) -> None:
    """Prove that the device programs of an engine were compiled for ``machine``.
    Raises ArtifactError, InstructionError: a program is damaged; MachineError: it was compiled for another machine; the
    message says how they differ."""
    from ..simulator import verifier

    for name in program_names(engine):
        with _naming(name):
            for program in read_programs(artifact, name):
                verifier.check_machine(program, machine)


def program_names(engine: Engine) -> list[str]:
    """The device programs that an engine runs."""
    return sorted({stage.program for stage in engine.stages if isinstance(stage, DeviceStage)})


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors that arise inside say which device program they are about."""
    try:
        yield
    except (InstructionError, MachineError) as error:
        error.stage = error.stage or f"load artifact: device program {name!r}"
        raise


def read_programs(artifact: Artifact, name: str) -> tuple[Program, ...]:
    """What each card runs of a device program, decoded from its section.
    Raises ArtifactError, InstructionError, MachineError: one is damaged, or has constants of another size."""
    # Here and not above: artifacts without a device program need none of it.
    from ..isa.program import Program, RegionKind

    found: list[Program] = []
    for own in artifact.manifest.device_programs[name].of_cards:
        program = Program.from_bytes(artifact.copy(own.instructions))
        needed = sum(region.size for region in program.regions if region.kind is RegionKind.CONSTANT)
        given = len(artifact.section(own.weights))
        if given != needed:
            raise ArtifactError(
                f"section {own.weights!r} does not hold the constants of device program {name!r}",
                stage="load artifact",
                expected=f"{needed} bytes",
                found=given,
            )
        found.append(program)
    return tuple(found)


def constant_contents(artifact: Artifact, name: str) -> list[dict[str, np.ndarray]]:
    """The contents of the constant regions of a device program, by name, for each card that runs it: uint8."""
    info = artifact.manifest.device_programs[name]
    return [{_CONSTANTS: bytes_of(artifact.section(own.weights))} for own in info.of_cards]


class _Loaded:
    """A verified device program, of one card or several, whose inputs and outputs lie inside its regions."""

    def __init__(self, artifact: Artifact, name: str) -> None:
        from ..isa.program import RegionKind
        from ..simulator.functional import CardsEngine

        self.info = artifact.manifest.device_programs[name]
        with _naming(name):
            self.programs = read_programs(artifact, name)
            self.engine = CardsEngine(self.programs, self.programs[0].machine, constant_contents(artifact, name))
        self._sizes: list[dict[str, int]] = []
        for program in self.programs:
            sizes = {(region.kind, region.name): region.size for region in program.regions}
            if any(kind is RegionKind.INPUT and region != _INPUT for kind, region in sizes):
                raise ArtifactError(
                    f"device program {name!r} has an input region that nothing fills", stage="load artifact"
                )
            kinds = {_INPUT: RegionKind.INPUT, _OUTPUT: RegionKind.OUTPUT}
            self._sizes.append({region: sizes.get((kind, region), 0) for region, kind in kinds.items()})
        for region, maps in ((_INPUT, self.info.inputs), (_OUTPUT, self.info.outputs)):
            for ref in maps:
                self._check(ref, self._sizes[ref.card][region], name)

    @staticmethod
    def _check(ref: FeatureMapRef, size: int, name: str) -> None:
        fits = len(ref.shape) == 4 and ref.pixel >= ref.shape[3]
        if not fits or ref.offset + math.prod(ref.shape[:3]) * ref.pixel > size:
            raise ArtifactError(
                f"device program {name!r} has a feature map outside its region",
                stage="load artifact",
                expected=f"images, rows, columns and channels within {size} bytes",
                found=f"{list(ref.shape)}, {ref.pixel} bytes a pixel, from byte {ref.offset}",
            )

    @property
    def run_bytes(self) -> int:
        """What a run takes: the scratchpads, and the regions that are not constant."""
        from ..isa.program import RegionKind

        machine = self.programs[0].machine
        scratchpads = machine.maps_bytes + machine.weight_bytes + machine.accumulator_bytes + machine.parameter_bytes
        return sum(program.clusters for program in self.programs) * scratchpads + sum(
            region.size
            for program in self.programs
            for region in program.regions
            if region.kind is not RegionKind.CONSTANT
        )

    def run(self, operands: list[np.ndarray], results: list[np.ndarray]) -> None:
        from ..simulator.memory import POISON

        # Memory of which only what is read and written is ever touched, however large the regions are.
        cards = [{name: np.zeros(size, np.uint8) for name, size in sizes.items()} for sizes in self._sizes]
        for ref, array in zip(self.info.inputs, operands, strict=True):
            ref.view(cards[ref.card][_INPUT])[...] = in_bytes(as_map(array))
        for ref in self.info.outputs:
            ref.view(cards[ref.card][_OUTPUT])[...] = POISON
        self.engine.run(cards)
        for ref, array in zip(self.info.outputs, results, strict=True):
            of_bytes(ref.view(cards[ref.card][_OUTPUT]), as_map(array))


class DeviceExecutor:
    """Executes the device stages of an engine.
    Raises ArtifactError, InstructionError, MachineError: a program is damaged or unsafe; found before anything runs."""

    def __init__(self, artifact: Artifact, engine: Engine, policy: CodePolicy, _threads: int) -> None:
        self._programs = {name: _Loaded(artifact, name) for name in program_names(engine)}
        # Weights are kept in the form in which they are used, which is float32 for most.
        every = [own for loaded in self._programs.values() for own in loaded.info.of_cards]
        weights = sum(len(artifact.section(own.weights)) for own in every)
        self.memory = {
            "decoded weights": 4 * weights,
            "memories of the simulator": max(loaded.run_bytes for loaded in self._programs.values()),
        }
        for stage in engine.stages:
            if isinstance(stage, DeviceStage):
                self._check(stage)

    def _check(self, stage: DeviceStage) -> None:
        info = self._programs[stage.program].info
        for refs, maps, is_result in ((stage.operands, info.inputs, False), (stage.results, info.outputs, True)):
            expected, found = [ref.shape for ref in maps], [_map_shape(ref.shape, ref.numpy.itemsize) for ref in refs]
            if stage.shares > 1 and len(refs) == len(maps):
                found = [
                    shape
                    if shape == map.shape and not is_result
                    else _map_shape(_share_of(ref.shape, stage.shares), ref.numpy.itemsize)
                    for shape, ref, map in zip(found, refs, maps, strict=True)
                ]
            if expected != found or any(ref.numpy.itemsize > 2 for ref in refs):
                raise ArtifactError(
                    f"device program {stage.program!r} does not match the tensors of its stage",
                    stage="load artifact",
                    expected=expected,
                    found=found,
                )

    def run(self, stage: DeviceStage, buffers: Buffers) -> None:
        """Execute a stage, share by share: what computes one, and where, cannot be seen in its result."""
        loaded, shares = self._programs[stage.program], stage.shares
        operands, results = ([buffers.view(ref) for ref in refs] for refs in (stage.operands, stage.results))
        for share in range(shares):
            if share:
                buffers.check_abandoned()
            loaded.run(
                [_cut(array, map, share, shares) for array, map in zip(operands, loaded.info.inputs, strict=True)],
                [_cut(array, map, share, shares) for array, map in zip(results, loaded.info.outputs, strict=True)],
            )

    def timed(self, stage: DeviceStage, buffers: Buffers) -> list[StepTime]:
        """Execute a stage and measure how long its simulation takes, which says nothing of the device's own time."""
        start = perf_counter()
        self.run(stage, buffers)
        step = StepInfo(stage.program, "device", "simulated")
        return [StepTime(step, "functional simulator", (perf_counter() - start) * 1e3, start)]


def _map_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    found = as_map(np.broadcast_to(np.zeros((), f"u{itemsize}"), shape)).shape
    return found if itemsize == 1 else (*found[:-1], 2 * -(-found[-1] // CHANNEL_BLOCK) * CHANNEL_BLOCK)


def _share_of(shape: tuple[int, ...], shares: int) -> tuple[int, ...]:
    """The shape of one of so many equal parts along the first dimension; empty where there are none."""
    return (shape[0] // shares, *shape[1:]) if shape and shape[0] % shares == 0 else ()


def _cut(array: np.ndarray, map: FeatureMapRef, share: int, shares: int) -> np.ndarray:
    """The part of a tensor that a share of it works on; all of it, where that is the map of a program."""
    if shares == 1 or _map_shape(array.shape, array.itemsize) == map.shape:
        return array
    images = len(array) // shares
    return array[share * images : (share + 1) * images]
