"""Check an artifact, and who vouches for it.

Every byte is compared with its hash and every program is verified; nothing of it runs.
Exits with 0 if it is intact and its native code is trusted here, otherwise with 1.

Examples:
  tilewright verify model.twa
  tilewright verify model.twa --trust ed25519:…
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypedDict

from tilewright.errors import InstructionError, MachineError, TrustError

from .parser import add_artifact

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    parser.add_argument(
        "--trust",
        metavar="KEY",
        help="Require that it is signed by this key (ed25519:…) or has this digest (sha256:…). "
        "Default: made by this user on this machine, or signed by a key that this user trusts.",
    )


class VerifiedArtifact(TypedDict):
    """An artifact that is intact, and whose native code is trusted.

    Attributes:
        signer: its key; nothing if nobody signed it.
        reason: why its native code is trusted.
        unfit: by CPU program, why its native code does not run here; nothing where it does.
    """

    artifact: str
    digest: str
    signer: str | None
    reason: str
    native_code_runs_here: bool
    unfit: dict[str, str | None]


def run(arguments: argparse.Namespace) -> str | VerifiedArtifact:
    from ..artifact.artifact import Artifact
    from ..execution.cpu import fitting, reasons_against
    from ..execution.shapes import naming_shape
    from ..trust.verdict import how_to_trust

    artifact = Artifact.open(arguments.artifact)
    artifact.check_sha256()
    if artifact.credentials.signed and artifact.signer is None:
        raise TrustError(f"the signature of {artifact.origin} is wrong: it was changed after it was signed")
    views = artifact.in_shapes()
    for each in views:
        with naming_shape(each, len(views)):
            _check_programs(each)
    verdict = artifact.judge(arguments.trust)
    if not verdict.trusted:
        raise TrustError(
            f"{artifact.origin} is intact, but its native code is not trusted: {verdict.reason}",
            hint=how_to_trust(artifact.credentials),
        )
    reasons = reasons_against(artifact)
    if arguments.json:
        return {
            "artifact": artifact.origin,
            "digest": artifact.digest,
            "signer": artifact.signer,
            "reason": verdict.reason,
            "native_code_runs_here": not reasons,
            "unfit": {name: fitting(each)[1] for name, each in artifact.manifest.cpu_programs.items()},
        }
    use = f"does not fit this machine: {', '.join(reasons)}" if reasons else "runs here"
    return (
        f"{artifact.origin} is intact\n"
        f"  {artifact.digest}\n"
        f"  its native code is trusted: {verdict.reason}\n"
        f"  its native code {use}\n"
    )


def _check_programs(artifact: Artifact) -> None:
    from ..native import elf

    for cpu_program in artifact.manifest.cpu_programs.values():
        for level in cpu_program.levels:
            elf.parse(artifact.copy(level.code))
    if not artifact.manifest.device_programs:
        return
    from ..execution.device import constant_contents, read_programs
    from ..simulator.memory import constant_regions
    from ..simulator.provenance import check_multipliers, trace_sources
    from ..simulator.verifier import verify_cards

    for name in artifact.manifest.device_programs:
        try:
            programs = read_programs(artifact, name)
            verified = verify_cards(programs, programs[0].machine)
            contents = zip(programs, constant_contents(artifact, name), strict=True)
            check_multipliers(verified, trace_sources(verified), [constant_regions(*each) for each in contents])
        except (InstructionError, MachineError) as error:
            error.stage = error.stage or f"device program {name!r}"
            raise
