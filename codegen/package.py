"""Module to artifact: what the compiler knows and the runtime needs, gathered in one file.

The text of each CPU program is stored beside its object code. It holds everything that code generation reads, so the
kernels can be generated again where the stored object code does not fit the processor or is not trusted.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import numpy as np

from tilewright.errors import ArtifactError, CodegenError

from ..ir.annotations import CARDS, OBSERVED
from ..ir.calls import device_programs, host_functions
from ..ir.clone import clone_module
from ..ir.core import Function, Module
from ..ir.layout import pack
from ..ir.text.printer import blobs, print_module
from ..ir.types import DType
from ..runtime.artifact.artifact import Artifact, artifact_bytes
from ..runtime.artifact.container import Section, SectionKind, sha256
from ..runtime.artifact.json_dataclasses import write
from ..runtime.artifact.manifest import (
    CardProgramInfo,
    CodeInfo,
    CpuProgramInfo,
    DeviceProgramInfo,
    Engine,
    Manifest,
    ModelInfo,
    OtherShape,
    Processor,
    Shapes,
    TensorSpec,
)
from .cpu.constants import ConstantPool
from .cpu.llvm.target import TargetDescription
from .cpu.llvm.tiles import narrow_gain
from .cpu.program import CpuCode, LoweredProgram, as_bytes, build_cpu_program
from .device.program import Assembled, feature_maps
from .manifest_entries import (
    checked_values,
    counts_of,
    identity,
    inner_steps,
    inputs_of,
    outputs_of,
    stages_of,
    steps_of,
)
from .stored_module import BlobIndex, InlineArray, StoredArray, load_module, stored_constants
from .time_limit import KERNELS, Progress, generation_limit

_CONSTANTS = "constants"
"""The section that all CPU programs read."""


@dataclass
class Package:
    """An artifact being put together.

    Attributes:
        module: the network as imported, for names and metadata.
        precision: what the user asked for.
        details: facts for reports, JSON values only.
        digests: of the arrays that its CPU programs hold.
        pool: the constants of all engines, levels and shapes.
        extents: what the names of open extents stand for.
        others: the network in further shapes.
        kept: outputs behind those of the network, for who looks at values in the middle of it.
    """

    module: Module
    precision: str
    compiler_version: str
    details: dict[str, object] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    cpu_programs: dict[str, CpuProgramInfo] = field(default_factory=dict)
    device_programs: dict[str, DeviceProgramInfo] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    pool: ConstantPool = field(default_factory=ConstantPool)
    extents: Mapping[str, int] = field(default_factory=dict)
    others: list[OtherShape] = field(default_factory=list)
    kept: tuple[TensorSpec, ...] = ()
    _stored: dict[tuple[SectionKind, object], str] = field(default_factory=dict)

    def add_shape(self, other: "Package") -> None:
        """Add the network in a further shape, which was put together with the same pool of constants.

        A section that an earlier shape has as well is stored once."""
        earlier = dict(self._stored or {_content(part): part.name for part in self.sections})
        self._stored = dict(earlier)
        names: dict[str, str] = {}
        for part in other.sections:
            stored = earlier.pop(_content(part), None)
            if stored is None:
                stored = f"{len(self.others) + 2}/{part.name}"
                self.sections.append(part._replace(name=stored))
                self._stored[_content(part)] = stored
            names[part.name] = stored
        made = other.manifest()
        programs = made.engines, made.cpu_programs, made.device_programs
        self.others.append(
            OtherShape(made.inputs, made.outputs, *programs, made.details, made.counts, names, other.extents)
        )

    def manifest(self) -> Manifest:
        """The manifest of what has been added so far."""
        main = self.module.main
        return Manifest(
            compiler_version=self.compiler_version,
            model=ModelInfo(self.module.name, self.module.metadata.get("sha256", "")),
            precision=self.precision,
            inputs=inputs_of(main),
            outputs=(*outputs_of(main), *self.kept),
            counts=counts_of(main),
            engines=self.engines,
            cpu_programs=self.cpu_programs,
            device_programs=self.device_programs,
            details=self.details,
            shapes=Shapes(self.extents, tuple(self.others)) if self.others else None,
        )

    def add_kept(self, module: Module) -> None:
        """Take up the outputs that a pass kept behind those of the network, before code is made of the module."""
        entries = OBSERVED.get(module.main)
        if entries is not None:
            self.kept = outputs_of(module.main)[len(outputs_of(self.module.main)) :]
            self.details["kept"] = [each._asdict() for each in entries]
            OBSERVED.drop(module.main)

    def to_bytes(self) -> bytes:
        """The artifact with what has been added so far."""
        return artifact_bytes(self.manifest(), self.sections)


def _content(part: Section) -> tuple[SectionKind, object]:
    """What equal sections have in common; a pool of constants grows, and is equal to itself alone."""
    return part.kind, id(part.data) if isinstance(part.data, bytearray) else sha256(part.data)


@np.errstate(all="ignore")
def add_engine(
    package: Package,
    name: str,
    module: Module,
    targets: Sequence[TargetDescription],
    *,
    strict: bool = False,
    report: Progress,
) -> CpuCode:
    """Generate code for the host's part of a planned module and add it as engine ``name``.
    ``targets``: one or several, the most capable first.
    Returns the code for the first.
    Raises UnsupportedError: under ``strict``, an op has no kernel; CodegenError: something cannot be generated."""
    built: list[CpuCode] = []
    for number, target in enumerate(targets, 1):
        what = f"{KERNELS} ({name}{f', level {number} of {len(targets)}' if len(targets) > 1 else ''})"
        report_level = functools.partial(report, what)
        built.append(build_cpu_program(module, target, pool=package.pool, strict=strict, report=report_level))
    program, *others = built
    for other in others:
        if list(map(identity, steps_of(module, other))) != list(map(identity, steps_of(module, program))):
            raise CodegenError("a step has a kernel for some processors only", stage="package", op=name)
    levels = [
        CodeInfo(
            f"code.{name}{f'.{target.name}' if number else ''}",
            code.arena_bytes,
            Processor(target.triple, target.name, code.target.features),
        )
        for number, (target, code) in enumerate(zip(targets, built, strict=True))
    ]
    first, module_section = levels[0], f"module.{name}"
    package.cpu_programs[name] = CpuProgramInfo(
        first.code,
        _CONSTANTS,
        module_section,
        first.arena_bytes,
        first.target,
        steps_of(module, program),
        (*levels[1:],),
        inner_steps(program),
    )
    host = clone_module(module, [function.name for function in host_functions(module)])
    arrays = _blob_index(host, program)
    package.digests |= arrays.arrays.keys()
    package.sections += [
        *(Section(each.code, SectionKind.CODE, code.object_code) for each, code in zip(levels, built, strict=True)),
        Section(module_section, SectionKind.MODULE, print_module(host).encode()),
        Section(f"{module_section}.blobs", SectionKind.MODULE, write(arrays)),
    ]
    if all(part.name != _CONSTANTS for part in package.sections):
        package.sections.append(Section(_CONSTANTS, SectionKind.CONSTANTS, program.constants))
    package.engines[name] = Engine(stages_of(module, name, program))
    checked = [asdict(each) for each in checked_values(program)]
    if checked:
        package.details["checked"] = {**cast("dict[str, object]", package.details.get("checked", {})), name: checked}
    return program


def add_device_programs(package: Package, module: Module, assembled: Mapping[str, Assembled]) -> None:
    """Encode the device programs of a module's functions for the accelerator, and add them.
    ``assembled``: the same functions as instructions, by name.
    Raises MachineError: the DRAM of a card does not hold what a program works on."""
    for name, functions in device_programs(module).items():
        built = [assembled[each.name].finish() for each in functions]
        for each in built:
            each.program.check_dram()
        text = print_module(clone_module(module, _texts(name, functions))).encode()
        # Of the first card by the name of the whole.
        infos = [
            CardProgramInfo(f"instructions.{each}", f"weights.{each}")
            for each in (name, *(function.name for function in functions[1:]))
        ]
        package.device_programs[name] = DeviceProgramInfo(
            infos[0].instructions,
            infos[0].weights,
            *feature_maps(module.functions[name], functions, built),
            CARDS.get(functions[0]) or 1,
            tuple(infos[1:]),
        )
        package.sections.append(Section(f"module.{name}", SectionKind.MODULE, text))
        for info, each in zip(infos, built, strict=True):
            package.sections += [
                Section(info.instructions, SectionKind.DEVICE_INSTRUCTIONS, each.program.to_bytes()),
                Section(info.weights, SectionKind.DEVICE_WEIGHTS, each.constants),
            ]


def _texts(name: str, functions: Sequence[Function]) -> set[str]:
    """The functions that make up a device program."""
    return {name, *(each.name for each in functions)}


def add_device_arrays(package: Package, module: Module) -> None:
    """Add what the texts of the device programs name that no CPU program added so far holds, which is little."""
    for name, functions in device_programs(module).items():
        if name in package.device_programs:
            own = blobs(clone_module(module, _texts(name, functions)))
            others = ((digest, array) for digest, array in own.items() if digest not in package.digests)
            found = {digest: _placed(package.pool, array) for digest, array in others}
            package.sections.append(Section(f"module.{name}.blobs", SectionKind.MODULE, write(BlobIndex(found))))


def _blob_index(module: Module, program: CpuCode) -> BlobIndex:
    found: dict[str, StoredArray | InlineArray] = {}
    again: list[StoredArray] = []
    for constant, offset in program.constant_offsets.items():
        stored = StoredArray(offset, constant.type.dtype, constant.type.shape, constant.type.layout)
        if found.setdefault(constant.digest, stored) != stored:
            again.append(stored)
    for digest, array in blobs(module).items():
        if digest not in found:
            found[digest] = _inline(array)
    return BlobIndex(found, tuple(again))


def _placed(pool: ConstantPool, array: np.ndarray) -> StoredArray | InlineArray:
    """An array among the constants, if it is large: where the weights of a product on the host are the same bytes."""
    if array.nbytes < _SHORT:
        return _inline(array)
    of_product = "o16i4" if array.ndim > 1 and array.dtype.itemsize == 1 else ""
    layout = of_product if pool.holds(as_bytes(pack(array, of_product))) else ""
    offset = pool.place(as_bytes(pack(array, layout)))
    return StoredArray(offset, DType.of(array.dtype), array.shape, layout)


def _inline(array: np.ndarray) -> InlineArray:
    return InlineArray(DType.of(array.dtype), array.shape, array.tobytes().hex())


_SHORT = 1024
"""Bytes below which an array stands in the index itself."""

_READING = 1e-6
"""Seconds that a byte of module text takes to be read, at least; 1.5e-6 as measured."""


def regenerate(artifact: Artifact, program: str, seconds: float | None) -> tuple[bytes, int, bytes]:
    """Object code for the processor of this machine, from what the artifact stores beside its object code.

    The artifact may come from anyone. The module is verified, code generation proves that every value lies in its
    memory, and what the runtime provides is compared with what the module takes: so the code keeps to the arena, the
    constants and the arrays that it is given.

    Returns:
        The object, the bytes of arena that it needs, and the constants that it reads behind those of the artifact:
        kernels for another processor may need more work memory than the manifest states, and have data of their own.

    Raises:
        ArtifactError: what is generated does not fit the manifest.
        ResourceError: it takes more than so many seconds of processor time, or than the artifact's size allows.
        IRError, CodegenError: the module text is wrong, or asks for memory that is not its own.
        UnsupportedError: the processor has no products for the precision.
    """
    entry = artifact.manifest.cpu_programs[program]
    hint = "Give it more with load(..., time_limit=SECONDS), or compile the model on this machine."
    limit = generation_limit(artifact, seconds, stage="load native code", hint=hint)
    # Nothing can interrupt the reading of the text, either.
    limit.check(artifact.sections[entry.module].length * _READING)
    module = load_module(artifact, program)
    pool = stored_constants(artifact, program)
    target = TargetDescription.host()
    if artifact.manifest.precision == "bf16":
        # Processors on which it is slow are refused; how much it gains was asked when the module was made.
        narrow_gain(target)
    built = build_cpu_program(module, target, pool=pool, report=limit.check_kernels)
    check_generated(artifact, program, module, built, stage="load native code")
    further = bytes(built.constants[artifact.sections[entry.constants].length :])
    return built.object_code, max(built.arena_bytes, entry.arena_bytes), further


def check_generated(artifact: Artifact, program: str, module: Module, built: LoweredProgram, *, stage: str) -> None:
    """Refuse kernels from a stored module that is not the one which the manifest tells of.
    Raises ArtifactError: inputs, outputs, steps or stages of engines differ."""
    entry, main = artifact.manifest.cpu_programs[program], module.main
    for what, expected, found in (
        ("inputs", artifact.manifest.inputs, inputs_of(main)),
        ("outputs", artifact.manifest.outputs, outputs_of(main)),
        ("extents of outputs", artifact.manifest.counts, counts_of(main)),
        ("steps", list(map(identity, entry.steps)), list(map(identity, steps_of(module, built)))),
        ("steps of bodies", [(each.op, each.loc) for each in entry.inner], [(op.name, op.loc) for op in built.inner]),
        *(
            (f"stages of engine {name!r}", engine.stages, stages_of(module, program, built))
            for name, engine in artifact.manifest.engines.items()
            if engine.cpu_program == program
        ),
    ):
        if expected != found:
            raise ArtifactError(
                f"the kernels of {artifact.origin} cannot be generated again: the {what} of program {program!r} are "
                "not those of the manifest",
                stage=stage,
                hint="Compile the model on this machine.",
            )
