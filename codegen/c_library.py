"""An artifact's network for programs in C, C++ and Rust: one object, one header, one file for CMake.

The kernels are generated again from the module that the artifact holds, so the processor may be any that
:mod:`.cpu.llvm.target` lists. No runtime is behind it, and no Python: the object calls nothing but ``memcpy``,
``memset`` and functions of ``math.h``, allocates nothing, and keeps no state between calls.
"""

import math
import re
from collections.abc import Callable

from tilewright.errors import CodegenError, UnsupportedError, UsageError

from ..runtime.artifact.artifact import Artifact
from ..runtime.artifact.manifest import CpuStage, Engine, Manifest, ReferenceStage, Stage, TensorSpec
from ..runtime.native import elf
from ..runtime.native.host import ASK_FOR_TILES
from ..runtime.native.mapping import MATHEMATICS
from .cpu.assemble import ARENA, CONSTANTS, ENTRY, STOP, TABLE, TEAM, assemble
from .cpu.constants import ALIGNMENT
from .cpu.llvm.builder import FunctionBuilder
from .cpu.llvm.target import TargetDescription
from .cpu.llvm.tiles import narrow_gain
from .cpu.llvm.types import I32, I64, PTR, Register, constant
from .cpu.program import LoweredProgram, lower_program
from .package import check_generated
from .stored_module import load_module
from .time_limit import generation_limit

PROVIDED = MATHEMATICS | {"memcpy", "memset"}
"""What an object may call of the C library."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_C_TYPES = {"f16": "uint16_t", "f32": "float", "f64": "double", "bool": "uint8_t"}
_MISALIGNED, _NO_TILES = -1, -2
_CONSTANTS = "constants"


def c_library(
    artifact: Artifact,
    engine: str,
    target: TargetDescription,
    name: str,
    report: Callable[[int, int], None] = lambda done, total: None,
    *,
    seconds: float | None = None,
) -> dict[str, bytes]:
    """The files of a network for C.

    Args:
        engine: one of the artifact that runs on the CPU alone.
        name: an identifier; the files and all names in the header begin with it.
        report: called as ``report(done, total)`` while kernels are compiled.
        seconds: of processor time that this may take; by default as long as the size of the artifact allows.

    Returns:
        Contents by file name: ``NAME.o``, ``NAME.h`` and ``NAME-config.cmake``.

    Raises:
        UsageError: the name is no identifier or is taken, or the artifact holds several shapes.
        UnsupportedError: something of the engine does not run on CPU kernels, the ops are named; or the processor
            has no products for the precision.
        ResourceError: it takes longer.
        ArtifactError, IRError, CodegenError: the artifact is damaged, or its manifest tells of another network than its
            module.
    """
    if not _NAME.fullmatch(name) or f"{name}_run" == ENTRY:
        raise UsageError(
            "the name is no identifier of C that is free", stage="export", found=name, hint="Give another with --name."
        )
    manifest = artifact.manifest
    if manifest.shapes is not None:
        raise UsageError(
            f"{artifact.origin} holds the network in {1 + len(manifest.shapes.others)} shapes",
            stage="export",
            expected="one shape: functions in C have arguments of one size",
            hint="Compile the model for one shape.",
        )
    if manifest.precision == "bf16":
        # Processors on which it is slow are refused; how much it gains was asked when the module was made.
        narrow_gain(target)
    program = _program(artifact, engine)
    hint = "Give it more with --time-limit SECONDS."
    limit = generation_limit(artifact, seconds, stage="export", hint=hint)

    def watched(done: int, total: int) -> None:
        limit.check_kernels(done, total)
        report(done, total)

    module = load_module(artifact, program)
    # A thread pool would need the system's calls.
    lowered = lower_program(module, target, is_alone=True, report=watched)
    check_generated(artifact, program, module, lowered, stage="export")
    # The section is there even if it has none.
    constants = bytes(lowered.constants) or b"\0"
    uses_tiles = "amx-tile" in lowered.target.features
    door = _door(name, manifest, len(constants), len(lowered.steps), target, uses_tiles)
    code = assemble(lowered.calls, target, len(manifest.inputs), lowered.scratch, watched, door)
    return {
        f"{name}.o": _filled(code, constants),
        f"{name}.h": _header(artifact, engine, target, name, lowered).encode(),
        f"{name}-config.cmake": _CMAKE.format(name=name).encode(),
    }


def exportable(artifact: Artifact) -> list[str]:
    """The engines of an artifact that run on CPU kernels alone."""
    engines = artifact.manifest.engines.items()
    return [name for name, made in engines if made.cpu_program is not None and not _others(artifact, made)]


def _program(artifact: Artifact, engine: str) -> str:
    """The CPU program that is all of an engine."""
    made = artifact.manifest.engines[engine]
    others = _others(artifact, made)
    if others or made.cpu_program is None:
        free = exportable(artifact)
        raise UnsupportedError(
            f"engine {engine} does not run on CPU kernels alone",
            stage="export",
            found=", ".join(others) or "no kernels",
            hint=f"Give --engine {' or '.join(free)}."
            if free
            else "Compile the model with --engines software or float.",
        )
    return made.cpu_program


def _others(artifact: Artifact, engine: Engine) -> list[str]:
    return sorted({_what(artifact, stage) for stage in engine.stages if not isinstance(stage, CpuStage)})


def _what(artifact: Artifact, stage: Stage) -> str:
    if not isinstance(stage, ReferenceStage):
        return f"the device program {stage.program}"
    found = artifact.manifest.cpu_programs[stage.program].steps[stage.step]
    return f"{found.op} {found.name} by its reference"


def _door(
    name: str, manifest: Manifest, constants: int, steps: int, target: TargetDescription, uses_tiles: bool
) -> FunctionBuilder:
    """``int NAME_run(const void *const *inputs, void *const *outputs, void *workspace)``."""
    counts = {"inputs": len(manifest.inputs), "outputs": len(manifest.results)}
    b = FunctionBuilder(target, f"{name}_run", [*((each, PTR) for each in (*counts, "workspace"))], I32)
    *tables, workspace = b.arguments
    offset = b.binary("and", b.number_of(workspace), constant(I64, ALIGNMENT - 1))
    b.return_if(b.compare("ne", offset, 0), constant(I32, _MISALIGNED))
    if uses_tiles:
        # As sessions do by the C library; a process that uses tiles without is ended.
        b.return_if(b.compare("ne", b.system_call(*ASK_FOR_TILES), 0), constant(I32, _NO_TILES))
    table, context = b.allocate(PTR, max(1, sum(counts.values()))), b.allocate(PTR, TEAM // PTR.bytes + 1)
    at = 0
    for source, count in zip(tables, counts.values(), strict=True):
        for index in range(count):
            b.store(b.load(PTR, source, index * PTR.bytes), table, at)
            at += PTR.bytes
    # The content comes later: as text, LLVM takes most of a minute for 100 MB of it. Nor may it rely on zeros.
    of_bytes, section = f"[{constants} x i8]", f'section ".rodata.{name}", align {ALIGNMENT}'
    b.declarations |= {
        _CONSTANTS: f"@{_CONSTANTS} = internal externally_initialized constant {of_bytes} zeroinitializer, {section}",
        "go_on": "@go_on = internal constant i32 0",
    }
    known = {CONSTANTS: f"@{_CONSTANTS}", STOP: "@go_on", TEAM: "null"}
    addresses = {ARENA: workspace, TABLE: table, **{place: Register(PTR, text) for place, text in known.items()}}
    for place, address in addresses.items():
        b.store(address, context, place)
    b.return_(b.call(ENTRY, I32, [context, constant(I64, 0), constant(I64, steps)]))
    return b


def _filled(code: bytes, constants: bytes) -> bytes:
    """The object with its constants in place, when it calls nothing that C programs do not have."""
    found = elf.parse(code)
    called = {symbol.name for symbol in found.symbols if symbol.section == 0 and symbol.name}
    if called - PROVIDED:
        raise CodegenError("the kernels call what C programs may not have", found=", ".join(sorted(called - PROVIDED)))
    # LLVM may give sections of its own the same name.
    (symbol,) = (each for each in found.symbols if each.name == _CONSTANTS)
    section = found.sections[symbol.section or 0]
    assert section.size == len(constants)
    return code[: section.offset] + constants + code[section.offset + section.size :]


def _header(artifact: Artifact, engine: str, target: TargetDescription, name: str, lowered: LoweredProgram) -> str:
    manifest, upper = artifact.manifest, name.upper()
    features = " ".join(lowered.target.features) or "no extension"
    lines = [
        f"/* {_comment(manifest.model.name)}: engine {engine}, made by Tilewright {manifest.compiler_version}",
        f"   for {target.triple}, {target.name}: {features}. */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
    ]
    for kind, specs in (("input", manifest.inputs), ("output", manifest.results)):
        lines.append(f"#define {upper}_{kind.upper()}S {len(specs)}")
        for index, spec in enumerate(specs):
            lines += _tensor(f"{upper}_{kind.upper()}_{index}", f"{kind}s[{index}]", spec)
        lines += [""] if kind == "input" else []
    return (
        "\n".join(lines)
        + "\n"
        + _DECLARATION.format(
            name=name,
            upper=upper,
            workspace=lowered.arena_bytes or ALIGNMENT,
            alignment=ALIGNMENT,
            misaligned=_MISALIGNED,
            refused=_NO_TILES,
        )
    )


def _tensor(prefix: str, place: str, spec: TensorSpec) -> list[str]:
    c_type = _C_TYPES.get(spec.dtype) or f"{'u' * (spec.dtype[0] == 'u')}int{spec.dtype[1:]}_t"
    open_extents = [f"axis {axis}: extent {count}" for axis, count in enumerate(spec.counts) if count >= 0]
    told = f", row-major, at most; {', '.join(open_extents)}" if open_extents else ""
    shape = "".join(f"[{extent}]" for extent in spec.shape)
    return [
        f"/* {place}: {_comment(spec.name)}, {c_type}{shape}{told} */",
        f"#define {prefix}_RANK {len(spec.shape)}",
        f"#define {prefix}_SHAPE {{{', '.join(map(str, spec.shape)) or '1'}}}",
        f"#define {prefix}_BYTES {math.prod(spec.shape, start=spec.numpy.itemsize)}",
    ]


def _comment(text: str) -> str:
    """Text of strangers, which must not end the comment that it stands in."""
    return "".join(each if each.isprintable() and each not in "*/\\?" else "_" for each in text)


_DECLARATION = """
/* Memory that a run works in, aligned to {alignment} bytes. Runs at the same time need one each. */
#define {upper}_WORKSPACE_BYTES {workspace}
#define {upper}_WORKSPACE_ALIGNMENT {alignment}

#ifdef __cplusplus
extern "C" {{
#endif
/* Computes the outputs. The memory of all tensors is the caller's: row-major, aligned to their elements, not shared by
   two. Returns 0; {misaligned} if the workspace is not aligned; {refused} if Linux refuses this process tiles of AMX
   that the kernels use; or 1 plus the number of the step that refused its data, such as an index out of range: then the
   outputs are not complete. Allocates nothing and keeps nothing. */
int {name}_run(const void *const *inputs, void *const *outputs, void *workspace);
#ifdef __cplusplus
}}
#endif

#endif
"""

_CMAKE = """\
# find_package({name} CONFIG REQUIRED PATHS FOLDER), then target_link_libraries(PROGRAM {name})
add_library({name} INTERFACE)
target_include_directories({name} INTERFACE "${{CMAKE_CURRENT_LIST_DIR}}")
target_link_libraries({name} INTERFACE "${{CMAKE_CURRENT_LIST_DIR}}/{name}.o" m)
"""
