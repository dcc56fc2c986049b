"""The rules between the parts of a manifest, which make every later use of it safe: no index or offset leaves its home.

The writer applies them to what the compiler made, the reader to what it finds in a file.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import NoReturn

from tilewright.errors import ArtifactError
from tilewright.limits import ELEMENTS

from .container import SectionKind
from .manifest import (
    ENGINES,
    BufferRef,
    CpuProgramInfo,
    CpuStage,
    DeviceStage,
    Engine,
    Manifest,
    OtherShape,
    ReferenceStage,
)


def check_manifest(manifest: Manifest, sections: Mapping[str, tuple[SectionKind, int]]) -> None:
    """Check a manifest against itself and against the sections (kind and length in bytes) that it refers to.
    Raises ArtifactError: a name refers to nothing, a step or buffer lies outside its program, a type differs from the
    one declared, or parts are missing."""
    first, *others = manifest.each_shape
    _check_shape(first, sections)
    known = {tuple(tensor.shape for tensor in first.inputs)}
    stored_shapes = manifest.shapes.others if manifest.shapes is not None else ()
    for number, (other, stored) in enumerate(zip(others, stored_shapes, strict=True), 2):
        try:
            _check_shape(other, _sections_of(stored, sections))
            _check_interface(other, first)
            shapes = tuple(tensor.shape for tensor in other.inputs)
            if shapes in known:
                _inconsistent("inputs", "each shape once", list(map(list, shapes)))
            known.add(shapes)
        except ArtifactError as error:
            error.message = f"shape {number}, {error.message}"
            raise


def _sections_of(
    shape: OtherShape, sections: Mapping[str, tuple[SectionKind, int]]
) -> dict[str, tuple[SectionKind, int]]:
    """The sections of a further shape by the names that it gives them: each one only once, as in a file of its own."""
    for name, stored in shape.sections.items():
        if stored not in sections:
            _inconsistent(f"section {name!r}", f"one of {list(sections)}", repr(stored))
    if len(set(shape.sections.values())) != len(shape.sections):
        _inconsistent("sections", "each section once", list(shape.sections.values()))
    return {name: sections[stored] for name, stored in shape.sections.items()}


def _check_interface(other: Manifest, first: Manifest) -> None:
    """Shapes differ in extents and in nothing else that a program sees."""
    for kind in ("inputs", "outputs"):
        expected, found = ([(t.name, t.dtype) for t in getattr(each, kind)] for each in (first, other))
        if expected != found:
            _inconsistent(kind, expected, found)
    if set(first.engines) != set(other.engines):
        _inconsistent("engines", list(first.engines), list(other.engines))


def _check_shape(manifest: Manifest, sections: Mapping[str, tuple[SectionKind, int]]) -> None:
    for kind, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        names = [tensor.name for tensor in tensors]
        if len(set(names)) != len(names):
            _inconsistent(f"{kind} names", "each name once", names)
        for tensor in tensors:
            _check_extents(f"{kind} {tensor.name!r}", tensor.shape)
            most = manifest.counts if kind == "output" else 0
            if tensor.counts and (len(tensor.counts) != len(tensor.shape) or max(tensor.counts) >= most):
                _inconsistent(f"{kind} {tensor.name!r}", f"counts below {most}", list(tensor.counts))
    # What is done for a program, once at least, is so bounded by the size of the file.
    unused = dict(sections)
    constants: set[str] = set()
    if len(manifest.cpu_programs) > len(ENGINES):
        _inconsistent("CPU programs", f"at most {len(ENGINES)}", len(manifest.cpu_programs))
    for name, program in manifest.cpu_programs.items():
        where = f"CPU program {name!r}"
        for level in program.levels:
            _take_section(f"{where}: code", level.code, SectionKind.CODE, unused)
        if program.constants not in constants:
            _take_section(f"{where}: constants", program.constants, SectionKind.CONSTANTS, unused)
            constants.add(program.constants)
        _take_section(f"{where}: module", program.module, SectionKind.MODULE, unused)
    for name, program in manifest.device_programs.items():
        where = f"device program {name!r}"
        for card, own in enumerate(program.of_cards):
            which = f"{where}, card {card}" if card else where
            _take_section(f"{which}: instructions", own.instructions, SectionKind.DEVICE_INSTRUCTIONS, unused)
            _take_section(f"{which}: weights", own.weights, SectionKind.DEVICE_WEIGHTS, unused)
        for ref in (*program.inputs, *program.outputs):
            if ref.card > len(program.others):
                _inconsistent(where, f"feature maps of cards 0 to {len(program.others)}", f"card {ref.card}")
    if not manifest.engines or not set(manifest.engines) <= set(ENGINES):
        _inconsistent("engines", f"some of {', '.join(ENGINES)}", list(manifest.engines))
    for name, engine in manifest.engines.items():
        _check_engine(f"engine {name!r}", engine, manifest, sections)


def _inconsistent(where: str, expected: object, found: object) -> NoReturn:
    raise ArtifactError(f"{where}: the manifest contradicts itself", stage="artifact", expected=expected, found=found)


def _check_extents(where: str, shape: tuple[int, ...]) -> None:
    if min(shape, default=0) < 0:
        _inconsistent(where, "extents of at least 0", list(shape))
    # NumPy multiplies the extents of an empty tensor as if none were 0.
    if math.prod(max(extent, 1) for extent in shape) > ELEMENTS:
        _inconsistent(where, f"up to {ELEMENTS} elements", list(shape))


def _take_section(where: str, name: str, kind: SectionKind, unused: dict[str, tuple[SectionKind, int]]) -> None:
    if name not in unused:
        _inconsistent(where, f"a section of its own, of {list(unused)}", repr(name))
    found = unused.pop(name)[0]
    if found is not kind:
        _inconsistent(where, f"a section of kind {kind.name.lower()}", found.name.lower())


def _check_engine(
    where: str, engine: Engine, manifest: Manifest, sections: Mapping[str, tuple[SectionKind, int]]
) -> None:
    if not engine.stages:
        _inconsistent(where, "at least one stage", "none")
    program_name = engine.cpu_program
    program = manifest.cpu_programs.get(program_name) if program_name is not None else None
    if program is None and program_name is not None:
        _inconsistent(where, f"one of the CPU programs {list(manifest.cpu_programs)}", repr(program_name))
    section = manifest.constants_of(engine)
    constants = sections[section][1] if section is not None else 0
    arena = min(level.arena_bytes for level in program.levels) if program else 0
    references = [index for index, step in enumerate(program.steps) if step.reference] if program else []
    stages: list[tuple[str, ReferenceStage | DeviceStage]] = []
    for index, stage in enumerate(engine.stages):
        at = f"{where}, stage {index}"
        if isinstance(stage, DeviceStage):
            if stage.program not in manifest.device_programs:
                _inconsistent(at, f"one of the device programs {list(manifest.device_programs)}", stage.program)
        elif program is None or stage.program != program_name:
            _inconsistent(at, f"CPU program {program_name!r} in the whole engine", repr(stage.program))
        else:
            _check_steps(at, stage, program, references)
        if not isinstance(stage, CpuStage):
            stages.append((at, stage))
            for ref in (*stage.operands, *stage.results):
                _check_ref(at, ref, manifest, arena, constants)
            for ref in stage.results:
                if ref.memory not in ("arena", "output"):
                    _inconsistent(at, "results in the arena or an output", ref.memory)
    # What native code reads and writes is known to who generates it.
    if len(stages) == len(engine.stages):
        _check_order(where, stages, len(manifest.results))


class _Ranges:
    """A set of bytes, as sorted ranges that do not touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def __contains__(self, ref: BufferRef) -> bool:
        index = bisect_right(self._starts, ref.position) - 1
        return not ref.bytes or (index >= 0 and ref.position + ref.bytes <= self._ends[index])


def _check_order(where: str, stages: Sequence[tuple[str, ReferenceStage | DeviceStage]], outputs: int) -> None:
    """What memory held before a run reaches no output: stages read what has been written, and write every output."""
    arena = _Ranges()
    written: set[int] = set()
    for at, stage in stages:
        for ref in stage.operands:
            unwritten = ref.position not in written if ref.memory == "output" else ref not in arena
            if ref.memory in ("arena", "output") and unwritten:
                _inconsistent(at, "operands that earlier stages write", f"{ref.memory} {ref.position}")
        for ref in stage.results:
            if ref.memory == "output":
                written.add(ref.position)
            else:
                arena.add(ref.position, ref.position + ref.bytes)
    if len(written) < outputs:
        _inconsistent(where, f"stages that write all of {outputs} outputs", sorted(written))


def _check_steps(at: str, stage: CpuStage | ReferenceStage, program: CpuProgramInfo, references: Sequence[int]) -> None:
    """Check the steps of a stage, of which those at ascending positions `references` have no kernel."""
    steps = len(program.steps)
    first, last = (stage.first, stage.last) if isinstance(stage, CpuStage) else (stage.step, stage.step + 1)
    if not 0 <= first < last <= steps:
        _inconsistent(at, f"steps within 0 to {steps}", f"[{first}, {last})")
    inside = references[bisect_left(references, first) : bisect_left(references, last)]
    if isinstance(stage, CpuStage) and inside:
        _inconsistent(at, "steps with a kernel", f"step {program.steps[inside[0]].name!r}")
    if isinstance(stage, ReferenceStage) and not inside:
        _inconsistent(at, "a step without a kernel", f"step {program.steps[first].name!r}")


def _check_ref(at: str, ref: BufferRef, manifest: Manifest, arena: int, constants: int) -> None:
    _check_extents(at, ref.shape)
    if ref.memory in ("input", "output"):
        tensors = manifest.inputs if ref.memory == "input" else manifest.results
        if ref.position >= len(tensors):
            _inconsistent(at, f"an {ref.memory} index below {len(tensors)}", ref.position)
        tensor = tensors[ref.position]
        # A reshape of an input or output has no memory of its own.
        if (tensor.dtype, math.prod(tensor.shape)) != (ref.dtype, math.prod(ref.shape)):
            _inconsistent(at, f"{tensor.dtype}{list(tensor.shape)}", f"{ref.dtype}{list(ref.shape)}")
        return
    size = arena if ref.memory == "arena" else constants
    if ref.position + ref.bytes > size:
        _inconsistent(at, f"a buffer within the {size} bytes of {ref.memory}", f"{ref.bytes} at {ref.position}")
    if ref.position % ref.numpy.itemsize:
        _inconsistent(at, f"an offset that is a multiple of {ref.numpy.itemsize}", ref.position)
