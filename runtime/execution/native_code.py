"""Which object code a CPU program runs: the artifact's own, or what is generated again from its module text."""

from __future__ import annotations

import importlib
import threading
from typing import NamedTuple

import tilewright
from tilewright.errors import ArtifactError, RegenerationWarning, TrustError, warn

from ..artifact.artifact import Artifact
from ..artifact.manifest import CodeInfo, CpuProgramInfo
from ..native import host
from ..native.mapping import supported
from ..trust import kernel_cache
from ..trust.verdict import Verdict, how_to_trust
from ..waiting import hold_while_forking

_SYSTEMS = "Linux on x86_64, aarch64 or riscv64"
_INSTALL = "pip install 'tilewright[compiler]'"

# The compiler has locks of its own, which a process that is forked off while another thread generates kernels would
# find locked for ever: so forking waits until that is done. A thread may also fork while it generates kernels itself.
_generating = threading.RLock()
hold_while_forking(_generating)


class CodePolicy(NamedTuple):
    """How object code may be had.

    Attributes:
        verdict: whether the artifact's own may run.
        regenerate: whether it may be generated again, where the artifact's must not run or does not fit the processor.
        seconds: processor time for that; None for what the size of the artifact allows.
    """

    verdict: Verdict
    regenerate: bool
    seconds: float | None = None


class ObjectCode(NamedTuple):
    """An ELF relocatable object that may run here, the bytes of arena that it needs, and the constants that it reads
    behind those of the artifact."""

    content: bytes
    arena_bytes: int
    constants: bytes = b""


def unfit(level: CodeInfo) -> str | None:
    """Why this machine cannot run object code, whoever made it; None when it can."""
    if not supported():
        return f"native code runs on {_SYSTEMS}, this is {_here()}"
    return host.missing(level.target.triple, level.target.features)


def fitting(program: CpuProgramInfo) -> tuple[CodeInfo, str | None]:
    """Of a program's own object code the most capable that this machine can run. If it can run none, the least capable,
    of those for its architecture if there are some, and why not."""
    reasons = {level: unfit(level) for level in program.levels}
    nearest = max(reversed(reasons), key=lambda level: host.is_native(level.target.triple))
    return next(((level, None) for level, reason in reasons.items() if reason is None), (nearest, reasons[nearest]))


def reasons_against(artifact: Artifact) -> list[str]:
    """Why this machine cannot run object code of all programs of an artifact, in all of its shapes; empty when it
    can."""
    programs = (program for each in artifact.manifest.each_shape for program in each.cpu_programs.values())
    return sorted({reason for program in programs if (reason := fitting(program)[1])})


def object_code(artifact: Artifact, program: str, policy: CodePolicy) -> ObjectCode:
    """Object code for a program that may and can run on this machine.

    Raises:
        TrustError: the artifact is not trusted, and its kernels must not be generated again or the compiler is not
            installed.
        ResourceError: generating them takes longer than the policy allows.
        ArtifactError: this system cannot run object code; or the artifact's does not fit this processor, and its
            kernels cannot be generated again; or it has changed since the file was opened.
        TilewrightError: the module text is wrong.
    """
    if not supported():
        raise ArtifactError(
            "CPU programs cannot run on this system",
            stage="load native code",
            expected=_SYSTEMS,
            found=_here(),
        )
    entry = artifact.manifest.cpu_programs[program]
    level, reason = fitting(entry)
    if reason is None and policy.verdict.trusted:
        return ObjectCode(artifact.copy(level.code), level.arena_bytes)
    credentials = artifact.credentials
    if credentials.signed and not credentials.signature_fits:
        # Nothing is kept of what someone has changed, so that the warning comes each time.
        return _regenerate(artifact, program, reason, policy)
    name = f"{artifact.shape}/{program}"
    kept = kernel_cache.Entry(credentials.digest, name, tilewright.__version__, host.description())
    found = kept.load() if policy.regenerate else None
    if found is not None:
        return ObjectCode(*found)
    code = _regenerate(artifact, program, reason, policy)
    kept.store(*code)
    return code


def _here() -> str:
    return f"{host.operating_system()} on {host.architecture() or 'an unknown architecture'}"


def _regenerate(artifact: Artifact, program: str, unfit_for: str | None, policy: CodePolicy) -> ObjectCode:
    """Object code for this machine, generated from the module text that the artifact holds.

    ``tilewright.codegen.package.regenerate(artifact, program, seconds)`` does the work. Its object exports the same
    entry point with the same steps, and stays within the arena that it asks for, the constants that it brings, and the
    constants, inputs and outputs that the manifest states, whatever the module text claims.
    """
    reason = unfit_for or policy.verdict.reason
    error = ArtifactError if unfit_for else TrustError
    remedy = (
        "Compile it with --target portable or for this processor" if unfit_for else how_to_trust(artifact.credentials)
    )
    what = f"the native code of {artifact.origin} does not run here: {reason}"
    if not policy.regenerate:
        raise error(
            f"{what}; and regenerate=False refuses to generate it again",
            stage="load native code",
            hint=f"{remedy}.",
        )
    try:
        package = importlib.import_module("...codegen.package", __package__)
    except ImportError as missing:
        raise error(
            f"{what}; generating it again needs the compiler, which lacks {missing.name or missing}",
            stage="load native code",
            hint=f"{remedy}. Or install the compiler here: {_INSTALL}.",
        ) from None
    warn(f"{what}; it is generated again, which takes a while the first time", RegenerationWarning)
    with _generating:
        return ObjectCode(*package.regenerate(artifact, program, policy.seconds))
