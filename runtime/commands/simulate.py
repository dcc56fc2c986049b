"""``tilewright simulate``: the accelerator's modelled time."""

from __future__ import annotations

import argparse

from .parser import add_artifact

HELP = """\
Print the modelled time of each layer on the accelerator.

Examples:
  tilewright simulate resnet50.twa
  tilewright simulate resnet50.twa --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_artifact(parser, " with precision int8")


def run(arguments: argparse.Namespace) -> str:
    """What it prints.

    Raises:
        ArtifactError: the artifact is damaged or holds nothing for the accelerator.
        InstructionError: a device program is damaged or unsafe.
    """
    from ..artifact.artifact import Artifact
    from ..report.simulation import simulate_artifact
    from ..report.table import json_text

    simulation = simulate_artifact(Artifact.open(arguments.artifact))
    return json_text(simulation) if arguments.json else simulation.to_text()
