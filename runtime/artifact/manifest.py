"""The manifest of an artifact: what the compiler tells the runtime, as dataclasses with an exact JSON form.

The compiler builds a `Manifest` and the runtime reads one back; both directions live here so that they cannot drift.
`manifest_check.py` holds the rules between the parts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..dtypes import NUMPY_DTYPES
from ..json_fields import Fields, finished, parse_object, refuse

ENGINES = ("device", "software", "float")
"""Every engine an artifact may hold, the preferred one first."""

PLACES = ("arena", "constants", "input", "output")

_MAXIMUM_RANK = 32
_MAXIMUM_ELEMENTS = 2**40


def _shape(fields: Fields) -> tuple[int, ...]:
    shape = fields.integers("shape", 0, _MAXIMUM_ELEMENTS)
    if len(shape) > _MAXIMUM_RANK or math.prod(shape) > _MAXIMUM_ELEMENTS:
        refuse(fields.path("shape"), f"rank up to {_MAXIMUM_RANK} and up to {_MAXIMUM_ELEMENTS} elements", shape)
    return shape


@dataclass(frozen=True)
class ModelInfo:
    """The source model: its name and the SHA-256 of its file in hexadecimal (empty when it was not a file)."""

    name: str
    sha256: str

    @staticmethod
    def read(fields: Fields) -> ModelInfo:
        return ModelInfo(fields.text("name"), fields.text("sha256"))


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output: its name, element type (``f32``, ``i8``, …) and static shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype of the elements."""
        return NUMPY_DTYPES[self.dtype]

    @staticmethod
    def read(fields: Fields) -> TensorSpec:
        return TensorSpec(fields.text("name"), fields.choice("dtype", tuple(NUMPY_DTYPES)), _shape(fields))


@dataclass(frozen=True)
class BufferRef:
    """A row-major tensor in memory.

    `place` says where: ``arena`` and ``constants`` with `position` as byte offset, ``input`` and ``output`` with
    `position` as index into the graph's inputs or outputs.
    """

    place: str
    position: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype of the elements."""
        return NUMPY_DTYPES[self.dtype]

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.numpy.itemsize

    def to_json(self) -> dict[str, object]:
        position = "offset" if self.place in ("arena", "constants") else "index"
        return {"in": self.place, position: self.position, "dtype": self.dtype, "shape": list(self.shape)}

    @staticmethod
    def read(fields: Fields) -> BufferRef:
        place = fields.choice("in", PLACES)
        position = fields.integer("offset" if place in ("arena", "constants") else "index")
        return BufferRef(place, position, fields.choice("dtype", tuple(NUMPY_DTYPES)), _shape(fields))


@dataclass(frozen=True)
class Target:
    """The processor that native code was generated for.

    `triple` is LLVM's; `features` are LLVM names of instruction-set extensions that the code may use, without signs.
    """

    triple: str
    cpu: str
    features: tuple[str, ...]

    @staticmethod
    def read(fields: Fields) -> Target:
        return Target(fields.text("triple"), fields.text("cpu"), fields.texts("features"))


@dataclass(frozen=True)
class Step:
    """One step of a CPU program.

    `kernel` names the kernel function, or is None for a step that only the reference interpreter can execute. `loc`
    holds the source nodes. `macs` counts multiply-accumulates, `bytes` the memory read and written, both per run.
    """

    name: str
    op: str
    kernel: str | None
    loc: tuple[str, ...] = ()
    macs: int = 0
    bytes: int = 0

    @property
    def reference(self) -> bool:
        """Whether the step has no kernel."""
        return self.kernel is None

    @staticmethod
    def read(fields: Fields) -> Step:
        return Step(
            fields.text("name"),
            fields.text("op"),
            fields.optional_text("kernel"),
            fields.texts("loc"),
            fields.integer("macs"),
            fields.integer("bytes"),
        )


@dataclass(frozen=True)
class CpuProgram:
    """A native program for the host processor.

    `code`, `constants` and `module` name sections: the ELF relocatable object, the constants that it reads in place,
    and the text from which the compiler can generate the object again. `arena_bytes` is the size of its work memory.
    """

    code: str
    constants: str
    module: str
    arena_bytes: int
    target: Target
    steps: tuple[Step, ...]

    @staticmethod
    def read(fields: Fields) -> CpuProgram:
        return CpuProgram(
            fields.text("code"),
            fields.text("constants"),
            fields.text("module"),
            fields.integer("arena_bytes"),
            fields.item("target", Target.read),
            fields.items("steps", Step.read),
        )


@dataclass(frozen=True)
class DeviceProgram:
    """A program for the accelerator: its sections by role (``machine``, ``instructions``, ``weights``, ``regions``)."""

    sections: Mapping[str, str]

    @staticmethod
    def read(fields: Fields) -> DeviceProgram:
        return DeviceProgram(fields.text_table("sections"))


@dataclass(frozen=True)
class CpuStage:
    """Run the steps [first, last) of a CPU program."""

    program: str
    first: int
    last: int
    kind: ClassVar[str] = "cpu"

    @staticmethod
    def read(fields: Fields) -> CpuStage:
        return CpuStage(fields.text("program"), fields.integer("first"), fields.integer("last"))


@dataclass(frozen=True)
class ReferenceStage:
    """Run one step of a CPU program by the reference interpreter.

    `text` is a module with one function whose parameters and results are, in order, the tensors that `operands` and
    `results` locate.
    """

    program: str
    step: int
    text: str
    operands: tuple[BufferRef, ...]
    results: tuple[BufferRef, ...]
    kind: ClassVar[str] = "reference"

    @staticmethod
    def read(fields: Fields) -> ReferenceStage:
        return ReferenceStage(
            fields.text("program"),
            fields.integer("step"),
            fields.text("text"),
            fields.items("operands", BufferRef.read),
            fields.items("results", BufferRef.read),
        )


@dataclass(frozen=True)
class DeviceStage:
    """Run a device program on tensors that the host sees: `operands` are transferred to it, `results` from it."""

    program: str
    operands: tuple[BufferRef, ...]
    results: tuple[BufferRef, ...]
    kind: ClassVar[str] = "device"

    @staticmethod
    def read(fields: Fields) -> DeviceStage:
        return DeviceStage(
            fields.text("program"), fields.items("operands", BufferRef.read), fields.items("results", BufferRef.read)
        )


Stage = CpuStage | ReferenceStage | DeviceStage

_STAGES = {"cpu": CpuStage.read, "reference": ReferenceStage.read, "device": DeviceStage.read}


def _read_stage(fields: Fields) -> Stage:
    return _STAGES[fields.choice("kind", tuple(_STAGES))](fields)


@dataclass(frozen=True)
class Engine:
    """One way to run the network: stages in order, all sharing one arena and the constants of one CPU program."""

    stages: tuple[Stage, ...]

    @property
    def cpu_program(self) -> str | None:
        """The CPU program of this engine, None when the device does everything."""
        return next((stage.program for stage in self.stages if not isinstance(stage, DeviceStage)), None)

    @staticmethod
    def read(fields: Fields) -> Engine:
        return Engine(fields.items("stages", _read_stage))


def _plain(part: object) -> dict[str, object]:
    """What JSON cannot express by itself: a dataclass as an object of its fields."""
    if isinstance(part, BufferRef):
        return part.to_json()
    return {"kind": part.kind, **vars(part)} if isinstance(part, Stage) else vars(part)


@dataclass(frozen=True)
class Manifest:
    """Everything about an artifact that is not bulk data.

    `precision` is what the user asked for (``fp32``, ``int8``). `details` is for reports only: the runtime does not
    read it.
    """

    compiler_version: str
    model: ModelInfo
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    engines: Mapping[str, Engine]
    cpu_programs: Mapping[str, CpuProgram]
    device_programs: Mapping[str, DeviceProgram] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The UTF-8 JSON text; equal manifests give equal bytes."""
        return json.dumps(self, default=_plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @staticmethod
    def from_json(text: bytes | memoryview) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ArtifactError: the text is not JSON, or a field is missing, unknown, of the wrong type or out of range.
        """
        return finished(parse_object(text), Manifest.read)

    @staticmethod
    def read(fields: Fields) -> Manifest:
        return Manifest(
            fields.text("compiler_version"),
            fields.item("model", ModelInfo.read),
            fields.text("precision"),
            fields.items("inputs", TensorSpec.read),
            fields.items("outputs", TensorSpec.read),
            fields.table("engines", Engine.read),
            fields.table("cpu_programs", CpuProgram.read),
            fields.table("device_programs", DeviceProgram.read),
            fields.anything("details"),
        )
