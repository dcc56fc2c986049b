"""Compile a model, ONNX or IR of the Inference Engine, into an artifact.

With --kp-id, into a container that programs for the kp API load.

Examples:
  tilewright compile resnet50.onnx -o resnet50.twa
  tilewright compile resnet50.xml
  tilewright compile resnet50.onnx --input-shape data=1,3,224,224
  tilewright compile bert.onnx --input-shape batch=1,4 --input-shape sequence=32..128/32
  tilewright compile silero_vad.onnx --input-shape input=1,512 --freeze sr=16000
  tilewright compile resnet50.onnx --calibration images/ --machine m4096
  tilewright compile yolo.onnx -o models_520.nef --kp-id 32769 \\
    --calibration images/ --preprocess mean=128,scale=1/256
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.errors import UsageError

from ...runtime.commands.console import progress_bar, tell
from ...runtime.commands.parser import add_output, number, whole_number
from ...runtime.commands.shapes import parse_bounds, parse_frozen, parse_input_shapes
from ..declarations import flag_of
from ..options import IDS_HELP, RADIX_HELP, TARGET_HELP, CompileOptions

if TYPE_CHECKING:
    from ...runtime.report.summary import ContainerSummary, Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help="The model: .onnx, or .xml of IR with its .bin file beside it. Several for a container.",
    )
    add_output(parser, "OUT.twa", "The file to write. Default: MODEL.twa in this folder; with --kp-id MODEL.nef.")
    add_options(parser)
    container = parser.add_argument_group("Containers for the kp API")
    container.add_argument("--kp-id", action="append", type=whole_number(), metavar="ID", help=IDS_HELP)
    container.add_argument("--kp-target", metavar="DEVICE", help=TARGET_HELP)
    container.add_argument("--kp-radix", type=whole_number(), metavar="N", help=RADIX_HELP)


def add_options(
    parser: argparse._ActionsContainer, names: Collection[str] = (), of: type[CompileOptions] = CompileOptions
) -> None:
    """Declare options of a class: all that the command line takes, in their groups, or those named."""
    groups: dict[str, Any] = {}
    for each in fields(of):
        heading = each.metadata.get("group")
        if names and each.name in names:
            parser.add_argument(flag_of(each), **_settings(each))
        elif not names and heading is not None:
            group = groups.get(heading) or parser.add_argument_group(heading)
            groups.setdefault(heading, group).add_argument(flag_of(each), **_settings(each))


def _settings(each: Field[Any]) -> dict[str, Any]:
    found = {"dest": each.name, "default": each.default, "help": each.metadata["help"]}
    hint = str(each.type).partition(" ")[0]
    if hint == "bool":
        return {**found, "action": "store_true"}
    readers = {"int": whole_number(), "float": number, "Sequence[str]": _names}
    if each.metadata["repeatable"]:
        found["action"], readers = "append", {}
    choices = each.metadata["choices"] or None
    return {**found, "metavar": each.metadata["metavar"], "type": readers.get(hint, str), "choices": choices}


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The keywords of :class:`CompileOptions` that arguments hold."""
    chosen = {each.name: vars(arguments)[each.name] for each in fields(CompileOptions) if each.name in arguments}
    return {
        **chosen,
        "input_shapes": parse_input_shapes(arguments.input_shapes),
        "freeze": parse_frozen(arguments.freeze),
        "bounds": parse_bounds(vars(arguments).get("bounds")),
    }


def run(arguments: argparse.Namespace) -> str | Summary | ContainerSummary:
    models: list[Path] = arguments.models
    kp = {"kp_target": arguments.kp_target, "kp_radix": arguments.kp_radix}
    kp = {name: value for name, value in kp.items() if value is not None}
    for name in kp if not arguments.kp_id else ():
        raise UsageError(f"--{name.replace('_', '-')} is for containers", hint="Give --kp-id, or leave it out.")
    if len(models) > 1 and not arguments.kp_id:
        raise UsageError(
            "an artifact holds one model",
            found=", ".join(map(str, models)),
            hint="Compile one after the other; or, for programs of the kp API, give --kp-id for each.",
        )
    output: Path = arguments.output or Path(f"{models[0].stem}.{'nef' if arguments.kp_id else 'twa'}")
    with progress_bar(quiet=arguments.quiet) as report:
        options = {**options_of(arguments), "report": report}
        if arguments.kp_id:
            summary = _container(models, output, {**options, **kp, "kp_id": arguments.kp_id})
        else:
            summary = _artifact(models[0], output, options)
    from ...runtime.files.output_file import is_standard_output

    for warning in summary.warnings:
        tell("warning", warning, quiet=arguments.quiet)
    if is_standard_output(output):
        return ""
    return summary if arguments.json else summary.to_text(str(output))


def _artifact(model: Path, output: Path, options: dict[str, Any]) -> Summary:
    from ...runtime.report.summary import summarize
    from ..driver import compile_to_file

    return summarize(compile_to_file(model, output, CompileOptions(**options)))


def _container(models: list[Path], output: Path, options: dict[str, Any]) -> ContainerSummary:
    from ...runtime.report.summary import summarize_container
    from ..containers.container import compile_container

    return summarize_container(compile_container([*models], **options, output=output))
