"""Tell throughput, latency and power on synthetic images: measured here, modelled for the accelerator.

Examples:
  tilewright power resnet50.twa
  tilewright power --xclbin resnet50.twa --bs 100 --reps 10 --json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, TypedDict

from tilewright.limits import IMAGES

from ...commands.console import progress_bar
from ...commands.parser import add_engine, whole_number
from ...commands.shapes import add_input_shape, chosen_shape
from .classify import ENGINE, add_network, network_of

if TYPE_CHECKING:
    from ..classify.power import Measured, Modelled

_SHELL = "xilinx_u250_xdma_201830_2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    parser.add_argument("--shell", default=_SHELL, metavar="NAME", help="Which of several cards; here is one.")
    parser.add_argument("--bs", type=whole_number(1, IMAGES), default=1, metavar="N", help="Images of a call.")
    parser.add_argument("--reps", type=whole_number(1), default=100, metavar="N", help="Calls.")
    add_input_shape(parser, default="the one of the most images that is not above --bs.")
    add_engine(parser, ENGINE)
    parser.add_argument(
        "--machine",
        metavar="MACHINE",
        help="A machine file that states energy constants. Default: those of the machine that the network was compiled "
        "for.",
    )


class PowerFigures(TypedDict):
    """What was measured on this processor, and what the models say of the accelerator; nothing without a part for it.
    ``measured``: ``repetitions``, ``batch``, ``seconds`` of all, ``latency`` of a call, ``images_per_second``,
    ``watts`` of the processor, where they can be read, and ``engine``."""

    measured: dict[str, float | str | None]
    modelled: Modelled | None


def run(arguments: argparse.Namespace) -> str | PowerFigures:
    from ...artifact.artifact import Artifact
    from ...native.host import processors
    from ...session import load
    from ..classify.application import open_network
    from ..classify.classifier import in_batches
    from ..classify.power import measure, model

    every = Artifact.open(network_of(arguments))
    stored = chosen_shape(arguments, every, in_batches(every, arguments.bs))
    artifact, engine = open_network(stored, engine=arguments.engine, weights=arguments.fcweights)
    modelled = None
    if stored.manifest.device_programs:
        modelled = model(stored, batch=arguments.bs, machine=arguments.machine)
    workers = processors()
    # Each run that waits holds an image: a call may be of any number of them.
    with (
        load(artifact, engine=engine, workers=workers, queue=min(arguments.bs, workers)) as session,
        progress_bar(quiet=arguments.quiet) as report,
    ):
        measured = measure(session, batch=arguments.bs, repetitions=arguments.reps, report=report)
    if arguments.json:
        found = {**asdict(measured), "latency": measured.latency, "images_per_second": measured.images_per_second}
        found["engine"] = engine
        return {"measured": found, "modelled": modelled}
    return _text(measured, modelled, engine)


def _text(measured: Measured, modelled: Modelled | None, engine: str) -> str:
    from ...report.table import significant

    def line(what: str, value: str) -> str:
        return f"  {what + ':':<17}{value}\n"

    host = "cannot be read" if measured.watts is None else f"{measured.watts:.1f} W (of all programs)"
    text = (
        f"Measured on this processor, engine {engine}, {measured.repetitions} calls, batch {measured.batch}\n"
        + line("Throughput", f"{significant(measured.images_per_second)} FPS")
        + line("Latency", f"{significant(measured.latency * 1e3)} ms")
        + line("Processor power", host)
    )
    if modelled is None:
        return text + "Nothing is modelled: the network holds nothing for the accelerator.\n"
    return (
        text
        + f"Modelled on {modelled.machine}, not measured on silicon\n"
        + line("Throughput", f"{significant(modelled.images_per_second)} FPS")
        + line("Latency", f"{significant(modelled.latency * 1e3)} ms")
        + line("Energy", f"{significant(modelled.joules * 1e3)} mJ a call, above idle")
        + line("FPGA power", f"{modelled.chip_watts:.1f} W")
        + line("Board power", f"{modelled.board_watts:.1f} W")
    )
