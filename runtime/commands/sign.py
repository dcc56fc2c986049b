"""Sign an artifact, for those who trust your key.

Its native code then runs where the key is trusted. The signature covers every byte.
The file is replaced by the signed one unless -o names another.

Examples:
  tilewright sign model.twa
  tilewright sign model.twa -o signed.twa
"""

import argparse
from pathlib import Path
from typing import TypedDict

from tilewright.errors import TrustError

from .parser import add_artifact, add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser)
    add_output(parser, "OUT.twa", "Write the signed artifact there. Default: in place of the one that is signed.")
    parser.add_argument(
        "--trust",
        metavar="sha256:…",
        help="Sign an artifact from elsewhere that has this digest. "
        "Without it, only what was made here or is signed by a trusted key.",
    )


class SignedArtifact(TypedDict):
    """Where it is, and who signed which digest."""

    output: str
    digest: str
    signer: str


def run(arguments: argparse.Namespace) -> str | SignedArtifact:
    from ..artifact.artifact import Artifact
    from ..artifact.container import packed
    from ..files.output_file import check_output, is_standard_output, output_file
    from ..trust import signing_key
    from ..trust.credentials import signed_message

    output: Path = arguments.output or arguments.artifact
    check_output(output)
    artifact = Artifact.open(arguments.artifact)
    verdict = artifact.judge(arguments.trust)
    if not verdict.trusted:
        raise TrustError(
            f"nothing says that the native code of {artifact.origin} may be vouched for: {verdict.reason}",
            hint=f"If you know it to be what you want to sign, add: --trust {artifact.digest}",
        )
    artifact.check_sha256()
    key, signature = signing_key.sign(signed_message(artifact.credentials.digest))
    pieces = artifact.signed(key.content, signature)
    with output_file(output) as file:
        file.writelines(packed(pieces) if artifact.packed else pieces)
    if is_standard_output(output):
        return ""
    if arguments.json:
        return {"output": str(output), "digest": artifact.digest, "signer": key.text}
    return f"{output} is signed by {key.name}\n  {key.text}\n  {artifact.digest}\n"
