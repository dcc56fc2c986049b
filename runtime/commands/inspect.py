"""Show what is in an artifact or a model.

Of an artifact: its layers, where they run, its memory and its sections. Of a container of models: their ids, inputs
and outputs. Of a model: its operators.

Examples:
  tilewright inspect resnet50.twa
  tilewright inspect resnet50.twa --engine software --memory
  tilewright inspect resnet50.twa --html resnet50.html
  tilewright inspect resnet50.onnx --ir
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tilewright.errors import UsageError

from ..compiler import compiler_for
from .parser import add_engine, output_path
from .shapes import add_imported, add_input_shape, chosen_shape

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..report.inspection import InspectedArtifact, ModelLayers, ModuleText, OpenModel
    from ..report.summary import ContainerSummary
    from ..report.table import Records

_MODELS = (".onnx", ".xml")
"""What the paths of models end in."""

_CONTAINER = ".nef"
"""What the paths of containers of models end in."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    path = (
        "An artifact (.twa), a container of models (.nef), or a model (.onnx, .xml), for which the compiler must "
        "be installed."
    )
    parser.add_argument("path", nargs="?", type=Path, metavar="FILE", help=path)
    parser.add_argument("--ir", action="store_true", help="Print the intermediate representation.")
    supported_ops = "Print all supported operators in Markdown; needs no file, but the compiler."
    parser.add_argument("--supported-ops", action="store_true", help=supported_ops)
    add_input_shape(parser, "The shape of an input that a model leaves open. ")
    add_imported(parser)
    add_engine(parser, "the first of these that the artifact holds.")
    parser.add_argument("--memory", action="store_true", help="Also show where intermediate results lie.")
    parser.add_argument("--disassemble", action="store_true", help="Print the instructions of the device programs.")
    html = "Also write the page that `tilewright report` makes, of the preferred engine."
    parser.add_argument("--html", type=output_path, metavar="FILE.html", help=html)


def run(
    arguments: argparse.Namespace,
) -> (
    str
    | InspectedArtifact
    | ModuleText
    | dict[str, str]
    | ModelLayers
    | OpenModel
    | ContainerSummary
    | dict[str, Records]
):
    path: Path | None = arguments.path
    as_json: bool = arguments.json
    if arguments.supported_ops + arguments.ir + arguments.memory + arguments.disassemble > 1:
        raise UsageError("--supported-ops, --ir, --memory and --disassemble show different things", hint="Give one.")
    if arguments.disassemble and arguments.engine is not None:
        raise UsageError("--disassemble shows the only engine with instructions", hint="Leave --engine out.")
    if arguments.supported_ops:
        if path is not None:
            raise UsageError("--supported-ops lists the operators of the compiler, not of a file", found=str(path))
        with compiler_for("inspect --supported-ops") as module:
            return module("report.model").supported(as_json=as_json)
    if path is None:
        raise UsageError("inspect needs a file", hint="Give an artifact or a model, or --supported-ops.")
    if path.suffix == _CONTAINER:
        return _container(path, arguments)
    if path.suffix in _MODELS:
        if arguments.engine is not None or arguments.memory or arguments.disassemble:
            raise UsageError("--engine, --memory and --disassemble are for artifacts", found=str(path))
        if arguments.html is not None:
            hint = "`tilewright report` compiles a model for its page."
            raise UsageError("--html is for artifacts", found=str(path), hint=hint)
        with compiler_for("inspect of a model") as module:
            model = module("report.model")
        given = arguments.input_shape, arguments.freeze, arguments.bound
        return model.inspect_model(path, *given, ir=arguments.ir, as_json=as_json)
    for name in ("freeze", "bound"):
        if vars(arguments)[name]:
            raise UsageError(f"--{name} is for models", found=str(path))
    return _artifact(path, arguments)


def _container(path: Path, arguments: argparse.Namespace) -> str | ContainerSummary:
    from ..containers.files import open_container
    from ..report.summary import summarize_container

    for name in ("engine", "ir", "memory", "disassemble", "input_shape", "freeze", "bound", "html"):
        if vars(arguments)[name]:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is for artifacts and models, not for containers of them", found=str(path))
    summary = summarize_container(open_container(path))
    return summary if arguments.json else summary.to_text(str(path))


def _artifact(path: Path, arguments: argparse.Namespace) -> str | InspectedArtifact | ModuleText | dict[str, str]:
    from ..artifact.artifact import Artifact
    from ..report.inspection import artifact_ir, chosen_engine, disassembly, inspect_artifact

    artifact = Artifact.open(path)
    if arguments.input_shape or arguments.ir or arguments.memory or arguments.disassemble or arguments.html:
        artifact = chosen_shape(arguments, artifact)
    if arguments.html is not None:
        _write_page(arguments.html, artifact, arguments.path)
    if arguments.disassemble:
        return disassembly(artifact, as_json=arguments.json)
    engine = chosen_engine(artifact, arguments.engine)
    if arguments.ir:
        return artifact_ir(artifact, engine, as_json=arguments.json)
    # The map is read off the module, which the runtime does not know; NumPy is enough for it.
    memory = None
    if arguments.memory:
        with compiler_for("inspect --memory") as module:
            memory = module("network_page.occupancy").memory_map(artifact, engine)
    return inspect_artifact(artifact, engine, memory, as_json=arguments.json)


def _write_page(target: Path, artifact: Artifact, source: Path) -> None:
    from ..files.output_file import check_output, write_file

    check_output(target, source=source)
    with compiler_for("inspect --html") as module:
        content = module("network_page.page").page(artifact).encode()
    write_file(target, content)
