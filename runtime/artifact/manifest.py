"""The manifest of an artifact: what the compiler tells the runtime, as dataclasses that are stored as JSON.

The compiler builds a `Manifest` and the runtime reads one back. `manifest_check.py` holds the rules between the parts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, replace
from typing import Annotated, Literal

import numpy as np

from tilewright.blocks import CARD_LIMIT
from tilewright.errors import ArtifactError
from tilewright.immutable import Immutable
from tilewright.limits import ARENA, ELEMENTS, LEVELS, RANK, SHAPES, STEPS

from .json_dataclasses import AtMost, Bounds, OneOf, Source, parse, read, write

ENGINES = ("device", "software", "float")
"""Every engine an artifact may hold, the preferred one first."""

NUMPY_DTYPES: dict[str, np.dtype] = {
    "f16": np.dtype("<f2"),
    "f32": np.dtype("<f4"),
    "f64": np.dtype("<f8"),
    "i8": np.dtype("i1"),
    "u8": np.dtype("u1"),
    "i16": np.dtype("<i2"),
    "u16": np.dtype("<u2"),
    "i32": np.dtype("<i4"),
    "u32": np.dtype("<u4"),
    "i64": np.dtype("<i8"),
    "u64": np.dtype("<u8"),
    "bool": np.dtype("?"),
}
"""The names of element types, and the NumPy types they stand for; little-endian, as artifacts are throughout."""

_SOURCE = Source("manifest", ArtifactError, "load artifact")

_DType = Annotated[str, OneOf(NUMPY_DTYPES)]
_Shape = Annotated[tuple[Annotated[int, Bounds(0, ELEMENTS)], ...], AtMost(RANK)]


class ModelInfo(Immutable):
    """The source model: its name and the SHA-256 of its file in hexadecimal (empty when it was not a file)."""

    name: str
    sha256: str


class _Tensor:
    """What follows from an element type and a shape."""

    dtype: _DType
    shape: _Shape

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype of the elements."""
        return NUMPY_DTYPES[self.dtype]

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.numpy.itemsize


class TensorSpec(_Tensor, Immutable):
    """A graph input or output: its name, element type (``f32``, ``i8``, …) and static shape.

    Where the data decide extents of an output, `shape` has the most that they can be, and `counts` says for each
    dimension which of the manifest's counts is its extent, -1 where it is that of `shape`."""

    name: str
    dtype: _DType
    shape: _Shape
    counts: Annotated[tuple[Annotated[int, Bounds(-1, STEPS)], ...], AtMost(RANK)] = ()

    @property
    def extents(self) -> tuple[str, ...]:
        """The extents as people read them: ``≤100`` for up to 100."""
        counts = self.counts or (-1,) * len(self.shape)
        return tuple(f"≤{e}" if count >= 0 else str(e) for e, count in zip(self.shape, counts, strict=True))

    def cut(self, array: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """What is there of an array of `shape`, given the manifest's counts of a run."""
        if not self.counts:
            return array
        ends = (array.shape[d] if count < 0 else counts[count] for d, count in enumerate(self.counts))
        return np.ascontiguousarray(array[tuple(slice(end) for end in ends)])

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{','.join(self.extents)}]"


class BufferRef(_Tensor, Immutable):
    """A row-major tensor in memory.

    `memory` says where: ``arena`` and ``constants`` with `position` as byte offset, ``input`` and ``output`` with
    `position` as index into the graph's inputs or outputs."""

    memory: Annotated[str, OneOf(("arena", "constants", "input", "output"))]
    position: int
    dtype: _DType
    shape: _Shape


class Processor(Immutable):
    """The processor that native code was generated for.

    `triple` is LLVM's; `cpu` is the name of a level, or LLVM's of the compiler's processor; `features` are LLVM names
    of instruction-set extensions that the code may use, without signs."""

    triple: str
    cpu: str
    features: tuple[str, ...]


class StepInfo(Immutable):
    """One step of a CPU program.

    `kernel` names the kernel function, or is None for a step that only the reference interpreter can execute. `loc`
    holds the source nodes. `macs` counts multiply-accumulates, `bytes` the memory read and written, both per run.
    `endless` says that nothing but the inputs bounds how often it loops."""

    name: str
    op: str
    kernel: str | None
    loc: tuple[str, ...] = ()
    macs: int = 0
    bytes: int = 0
    endless: bool = False

    @property
    def reference(self) -> bool:
        """Whether the step has no kernel."""
        return self.kernel is None

    @property
    def on_device(self) -> bool:
        """Whether the step hands over to a device program, by the operator that the IR has for it."""
        return self.op == "call"


class InnerStep(Immutable):
    """A step of a function that a step runs, the body of a branch or loop; `loc` holds its source nodes."""

    name: str
    op: str
    function: str
    loc: tuple[str, ...] = ()


class CodeInfo(Immutable):
    """Native code for further processors; the fields are those of `CpuProgramInfo`."""

    code: str
    arena_bytes: Annotated[int, Bounds(0, ARENA)]
    target: Processor


class CpuProgramInfo(Immutable):
    """A native program for the host processor.

    `code`, `constants` and `module` name sections: the ELF relocatable object, the constants that it reads in place,
    which programs may share, and the text from which the compiler can generate the object again. `arena_bytes` is the
    size of its work memory. `others` is the same code for further processors, the most capable first; that of `target`
    stands before them. Where a step refuses its operands, the code returns 1 plus its index, those of `inner` behind
    those of `steps`."""

    code: str
    constants: str
    module: str
    arena_bytes: Annotated[int, Bounds(0, ARENA)]
    target: Processor
    steps: Annotated[tuple[StepInfo, ...], AtMost(STEPS)]
    others: Annotated[tuple[CodeInfo, ...], AtMost(LEVELS - 1)] = ()
    inner: Annotated[tuple[InnerStep, ...], AtMost(STEPS)] = ()

    @property
    def levels(self) -> tuple[CodeInfo, ...]:
        """Its code for each processor, the most capable first."""
        return CodeInfo(self.code, self.arena_bytes, self.target), *self.others


class FeatureMapRef(Immutable):
    """A feature map in a region of a device program: images of rows of pixels, the channels of a pixel together.

    Attributes:
        offset: first byte in the region.
        shape: images, rows, columns, channels.
        pixel: bytes from pixel to pixel; rows and images follow without gaps.
        card: whose region it is, of the cards that run the program together.
    """

    offset: int
    shape: Annotated[tuple[Annotated[int, Bounds(1, 2**32)], ...], AtMost(4)]
    pixel: int
    card: Annotated[int, Bounds(0, CARD_LIMIT - 1)] = 0

    def view(self, region: np.ndarray) -> np.ndarray:
        """The map inside its region, u8[images, rows, columns, channels], without a copy."""
        images, rows, columns, channels = self.shape
        count = images * rows * columns
        pixels = region[self.offset : self.offset + count * self.pixel].reshape(images, rows, columns, self.pixel)
        return pixels[..., :channels]


class CardProgramInfo(Immutable):
    """What a further card runs together with the first one; the fields are those of `DeviceProgramInfo`."""

    instructions: str
    weights: str


class DeviceProgramInfo(Immutable):
    """A program for the accelerator.

    `instructions` and `weights` name sections: the program with the description of its machine, and the contents of
    its region of constants. `inputs` and `outputs` lie in the regions that the host fills and reads. With several
    `cards`, which have a copy each, the shares of a stage are shared out over them. `others` are what cards 1, 2, … run
    if the program is one of several cards, which send each other messages; the first is card 0."""

    instructions: str
    weights: str
    inputs: Annotated[tuple[FeatureMapRef, ...], AtMost(STEPS)]
    outputs: Annotated[tuple[FeatureMapRef, ...], AtMost(STEPS)]
    cards: Annotated[int, Bounds(1, CARD_LIMIT)] = 1
    others: Annotated[tuple[CardProgramInfo, ...], AtMost(CARD_LIMIT - 1)] = ()

    @property
    def of_cards(self) -> tuple[CardProgramInfo, ...]:
        """What each card runs."""
        return CardProgramInfo(self.instructions, self.weights), *self.others


class CpuStage(Immutable):
    """Run the steps [first, last) of a CPU program."""

    kind: Literal["cpu"] = field(default="cpu", init=False)
    program: str
    first: int
    last: int


class ReferenceStage(Immutable):
    """Run one step of a CPU program by the reference interpreter.

    `text` is a module with one function whose parameters and results are, in order, the tensors that `operands` and
    `results` locate."""

    kind: Literal["reference"] = field(default="reference", init=False)
    program: str
    step: int
    text: str
    operands: Annotated[tuple[BufferRef, ...], AtMost(STEPS)]
    results: Annotated[tuple[BufferRef, ...], AtMost(STEPS)]


class DeviceStage(Immutable):
    """Run a device program on tensors that the host sees: `operands` are transferred to it, `results` from it.

    With several `shares` it runs for each: operands with so many times the extent of the program's along the first
    dimension are cut there, others are the same for each; results are joined along the first dimension."""

    kind: Literal["device"] = field(default="device", init=False)
    program: str
    operands: Annotated[tuple[BufferRef, ...], AtMost(STEPS)]
    results: Annotated[tuple[BufferRef, ...], AtMost(STEPS)]
    shares: Annotated[int, Bounds(1, ELEMENTS)] = 1


Stage = CpuStage | ReferenceStage | DeviceStage


class Engine(Immutable):
    """One way to run the network: stages in order, all sharing one arena and the constants of one CPU program."""

    stages: Annotated[tuple[Stage, ...], AtMost(STEPS)]

    @property
    def cpu_program(self) -> str | None:
        """The CPU program of this engine, None when the device does everything."""
        return next((stage.program for stage in self.stages if not isinstance(stage, DeviceStage)), None)

    def runs_of(self, program: str) -> int:
        """How often a device program runs for one inference; 1 for one that no stage names."""
        stages = (each for each in self.stages if isinstance(each, DeviceStage) and each.program == program)
        return sum(stage.shares for stage in stages) or 1


class OtherShape(Immutable):
    """The network in a further shape; fields as those of `Manifest`, for its first shape, are.
    ``sections``: for each name that the programs give a section, the section of the file; shapes may share some.
    ``extents``: what the names of open extents stand for, as far as the model has some."""

    inputs: Annotated[tuple[TensorSpec, ...], AtMost(STEPS)]
    outputs: Annotated[tuple[TensorSpec, ...], AtMost(STEPS)]
    engines: Mapping[str, Engine]
    cpu_programs: Mapping[str, CpuProgramInfo]
    device_programs: Mapping[str, DeviceProgramInfo]
    details: Mapping[str, object]
    counts: Annotated[int, Bounds(0, STEPS)]
    sections: Mapping[str, str]
    extents: Mapping[str, Annotated[int, Bounds(0, ELEMENTS)]]


class Shapes(Immutable):
    """What an artifact of several shapes has beside the first: the others, and `extents` of the first."""

    extents: Mapping[str, Annotated[int, Bounds(0, ELEMENTS)]]
    others: Annotated[tuple[OtherShape, ...], AtMost(SHAPES - 1)]


class Manifest(Immutable):
    """Everything about an artifact that is not bulk data.

    `precision` is what the user asked for (``fp32``, ``bf16``, ``int8``). `details` is for reports, and for what
    commands do if not told otherwise: no engine reads it. Behind the outputs engines have so many `counts`, i64[]
    each, which say extents of outputs. `shapes` is there where the network was compiled for more than one shape."""

    compiler_version: str
    model: ModelInfo
    precision: str
    inputs: Annotated[tuple[TensorSpec, ...], AtMost(STEPS)]
    outputs: Annotated[tuple[TensorSpec, ...], AtMost(STEPS)]
    engines: Mapping[str, Engine]
    cpu_programs: Mapping[str, CpuProgramInfo]
    device_programs: Mapping[str, DeviceProgramInfo] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)
    counts: Annotated[int, Bounds(0, STEPS)] = 0
    shapes: Shapes | None = None

    @property
    def results(self) -> tuple[TensorSpec, ...]:
        """What engines write: the outputs, then the counts."""
        return (*self.outputs, *(TensorSpec(f"extent {index}", "i64", ()) for index in range(self.counts)))

    def constants_of(self, engine: Engine) -> str | None:
        """The section of constants that the stages of an engine read; of one that the device does everything of, the
        section that all CPU programs share."""
        programs = self.cpu_programs.items()
        return next((found.constants for name, found in programs if engine.cpu_program in (None, name)), None)

    def steps_of(self, engine: str) -> "tuple[StepInfo, ...]":
        """What an engine runs on the host, in order."""
        program = self.engines[engine].cpu_program
        return self.cpu_programs[program].steps if program is not None else ()

    @property
    def each_shape(self) -> "tuple[Manifest, ...]":
        """What the manifest of an artifact of one shape alone would be, for each."""
        first = replace(self, shapes=None)
        others = self.shapes.others if self.shapes is not None else ()
        parts = ("inputs", "outputs", "engines", "cpu_programs", "device_programs", "details", "counts")
        return (first, *(replace(first, **{name: getattr(other, name) for name in parts}) for other in others))

    def to_json(self) -> bytes:
        """The UTF-8 JSON text; equal manifests give equal bytes."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        # Without them it is what it was before there were several.
        return write({name: part for name, part in parts.items() if name != "shapes" or part is not None})

    @staticmethod
    def from_json(text: bytes | memoryview) -> "Manifest":
        """Read what `to_json` wrote."""
        found = parse(text, _SOURCE)
        return read(Manifest, {"shapes": None, **found} if isinstance(found, dict) else found, _SOURCE)
