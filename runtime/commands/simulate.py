"""Print the modelled time of each layer on the accelerator.

Work of several layers at the same time is charged once: each has the cycles since the end of the work before it, so
that layers add up to the total. MAC use is that in these cycles, or, where they are fewer than its own multiplications
take, in the time of those.

Beside it stands what the host takes: the link to it is modelled, its operators are measured on this CPU if the
artifact's code may run here. With --json:
  total, layers, bound_shares, parts, without: the accelerator, modelled; no host in any figure
  host.messages: inputs to the card and outputs to the host: program, card, to, bytes, seconds (modelled)
  host.stages: what the CPU does in one piece: after, before, operators, seconds (measured here; null where it was not)
  host.rounds, host.not_measured: how often it was measured, or why not

Examples:
  tilewright simulate resnet50.twa
  tilewright simulate resnet50.twa --json
  tilewright simulate resnet50.twa --trace resnet50.json
  tilewright simulate resnet50.twa --without instruction-fetch,turnaround,host-stages
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..simulator.left_out import BESIDE, COSTS, DETAILS
from .parser import add_artifact, output_path
from .shapes import add_input_shape, chosen_shape

if TYPE_CHECKING:
    from ..report.simulation import Simulation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_artifact(parser, " with precision int8")
    add_input_shape(parser)
    without = "leave costs out, by names with commas between: " + "; ".join(
        f"{name} ({meaning})" for name, meaning in {**COSTS, **BESIDE}.items()
    )
    parser.add_argument("--without", metavar="COSTS", default="", help=without)
    machine = (
        "The accelerator, or the path of a machine file, that the artifact must have been compiled for: schedules "
        "of another one are not modelled."
    )
    parser.add_argument("--machine", metavar="MACHINE", help=machine)
    trace = (
        "Write what every unit does when, for Perfetto (ui.perfetto.dev) and chrome://tracing, and what it waits "
        "for. A name that ends in .gz: compressed, which Perfetto opens as well."
    )
    parser.add_argument("--trace", type=output_path, metavar="FILE.json", help=trace)
    parser.add_argument(
        "--trace-detail",
        choices=DETAILS,
        default=next(iter(DETAILS)),
        metavar="DETAIL",
        help="; ".join(f"{name} ({meaning})" for name, meaning in DETAILS.items()) + ".",
    )


def run(arguments: argparse.Namespace) -> str | Simulation:
    from ..artifact.artifact import Artifact
    from ..files.output_file import check_output
    from ..report.simulation import SimulatedProgram, check_machine, simulate_artifact

    without = [name for name in map(str.strip, arguments.without.split(",")) if name]
    artifact = chosen_shape(arguments, Artifact.open(arguments.artifact))
    if arguments.machine is not None:
        check_machine(artifact, arguments.machine)
    programs: list[SimulatedProgram] = []
    observe = None
    if arguments.trace is not None:
        check_output(arguments.trace, source=arguments.artifact)
        observe = programs.append
    simulation = simulate_artifact(artifact, without, measured="host-stages" not in without, observe=observe)
    if arguments.trace is not None:
        from ..report.trace import write_trace

        write_trace(arguments.trace, artifact.manifest.model.name, programs, arguments.trace_detail)
    return simulation if arguments.json else simulation.to_text()
