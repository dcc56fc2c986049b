"""The compiler's part of the ``tilewright`` command, and the help of the whole.

Each command is a thin shell around a function that Python programs can call too. Those of the runtime are listed here
and executed there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tilewright.errors import UsageError

from ..runtime import commands
from ..runtime.commands.console import Diagnostics, ExitCode, show
from ..runtime.commands.parser import execute, module_of, options_of, output_path
from ..runtime.files.output_file import is_standard_output
from ..runtime.report.table import json_text
from .options import IDS_HELP, RADIX_HELP, TARGET_HELP, CompileOptions, flag_of, parse_input_shapes
from .progress import progress_bars

if TYPE_CHECKING:
    from ..runtime.report.container import ContainerSummary
    from ..runtime.report.summary import Summary

# By its base, because Typer brings Click along or imports it, depending on its version.
_UsageErrorOfTyper: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="tilewright",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compile networks, ONNX or IR, ahead of time, and run, inspect and measure the result.\n\n"
    "Typical use: `tilewright compile model.onnx -o model.twa`, then `tilewright run model.twa input.npy`. "
    "Results go to stdout; progress, warnings and errors go to stderr. "
    "Exit codes: 0 success, 1 bad input, 2 wrong usage, 3 unsupported model under --strict.",
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no warnings on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
COMPILE_OPTIONS = {
    each.name: typer.Option(flag_of(each), metavar=each.metadata["metavar"], help=each.metadata["help"])
    for each in fields(CompileOptions)
    if each.metadata["type"] is not None
}
InputShape = Annotated[list[str] | None, COMPILE_OPTIONS["input_shapes"]]


def invoke(words: list[str]) -> int:
    """Execute a command of the compiler, complete a word for the shell, or show help; the exit code.

    Raises:
        UsageError: the words are wrong.
        Exception: as the command says.
    """
    try:
        code = app(words, standalone_mode=False, prog_name="tilewright")
    except SystemExit as stop:
        # Typer's way to say that the reader of our output has seen enough, and of completion to end.
        if isinstance(stop.__context__, BrokenPipeError):
            raise stop.__context__ from None
        code = stop.code
    except _UsageErrorOfTyper as error:
        usage: Any = error
        if type(error).__name__ == "NoArgsIsHelpError":
            show(f"{usage.ctx.get_help()}\n")
            return ExitCode.USAGE
        command = usage.ctx.command_path if usage.ctx is not None else "tilewright"
        raise UsageError(usage.format_message().rstrip("."), hint=f"See `{command} --help`.") from None
    if code == 130:  # what Typer makes of Ctrl-C
        raise KeyboardInterrupt
    return code if isinstance(code, int) else ExitCode.SUCCESS


@app.callback()
def _global(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    pass


def compile(
    model: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="The model: .onnx, or .xml of IR with its .bin file beside it. Several for a container.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=output_path,
            metavar="OUT.twa",
            help="Default: MODEL.twa in this folder; with --kp-id MODEL.nef.",
        ),
    ] = None,
    kp_id: Annotated[list[int] | None, typer.Option(metavar="ID", help=f"{IDS_HELP} Repeatable.")] = None,
    kp_target: Annotated[str | None, typer.Option(metavar="DEVICE", help=TARGET_HELP)] = None,
    kp_radix: Annotated[int | None, typer.Option(metavar="N", help=RADIX_HELP)] = None,
    quiet: Quiet = False,
    json_output: Json = False,
    **chosen: Any,
) -> None:
    """Compile a model, ONNX or IR of the Inference Engine, into an artifact.

    With --kp-id, into a container that programs for the kp API load.

    \b
    Examples:
      tilewright compile resnet50.onnx -o resnet50.twa
      tilewright compile resnet50.xml
      tilewright compile resnet50.onnx --input-shape data=1,3,224,224
      tilewright compile resnet50.onnx --calibration images/ --machine m4096
      tilewright compile yolo.onnx -o models_520.nef --kp-id 32769 \\
        --calibration images/ --preprocess mean=128,scale=1/256
    """
    chosen["input_shapes"] = parse_input_shapes(chosen["input_shapes"])
    if kp_id:
        _compile_container(
            model, output, quiet, json_output, **chosen, kp_id=kp_id, kp_target=kp_target, kp_radix=kp_radix
        )
        return
    for flag, value in {"--kp-target": kp_target, "--kp-radix": kp_radix}.items():
        if value is not None:
            raise UsageError(f"{flag} is for containers", hint="Give --kp-id, or leave it out.")
    if len(model) > 1:
        raise UsageError(
            "an artifact holds one model",
            found=", ".join(map(str, model)),
            hint="Compile one after the other; or, for programs of the kp API, give --kp-id for each.",
        )
    from ..runtime.report.summary import summarize
    from .driver import compile_to_file

    target = output if output is not None else Path(model[0].with_suffix(".twa").name)
    with progress_bars(quiet=quiet) as report:
        artifact = compile_to_file(model[0], target, CompileOptions(**chosen, report=report))
    _report(summarize(artifact), target, quiet=quiet, json_output=json_output)


def _compile_container(
    models: list[Path], output: Path | None, quiet: bool, json_output: bool, *, kp_target: str | None, **chosen: Any
) -> None:
    from ..runtime.report.container import summarize_container
    from .containers.container import compile_container

    target = output if output is not None else Path(models[0].with_suffix(".nef").name)
    if kp_target is not None:
        chosen["kp_target"] = kp_target
    with progress_bars(quiet=quiet) as report:
        container = compile_container([*models], **chosen, output=target, report=report)
    _report(summarize_container(container), target, quiet=quiet, json_output=json_output)


def _report(summary: Summary | ContainerSummary, target: Path, *, quiet: bool, json_output: bool) -> None:
    diagnostics = Diagnostics(quiet=quiet)
    for warning in summary.warnings:
        diagnostics.warning(warning)
    if not is_standard_output(target):
        show(json_text(summary) if json_output else summary.to_text(str(target)))


def _with_compile_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its ``**chosen``, what :class:`CompileOptions` declares."""
    written = signature(command, eval_str=True)
    parameters = [each for each in written.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    for each in fields(CompileOptions):
        if each.name in COMPILE_OPTIONS:
            annotation = Annotated[each.metadata["type"], COMPILE_OPTIONS[each.name]]
            parameters.append(Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation))
    command.__dict__["__signature__"] = written.replace(parameters=parameters)
    return command


app.command()(_with_compile_options(compile))


def _hand_over(name: str) -> None:
    """List a command of the runtime, which reads its arguments itself."""

    def command(context: typer.Context, **_: object) -> None:
        show(execute(name, context.args))

    # To complete a word for the shell, Typer has to know the options; elsewhere it must leave them alone.
    known = options_of(name) if "_TILEWRIGHT_COMPLETE" in os.environ else ()
    parameters = [Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for option in known:
        declared = typer.Option(*option.option_strings, help=option.help)
        annotation = Annotated[bool if option.nargs == 0 else str | None, declared]
        parameters.append(Parameter(option.dest, Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    command.__dict__["__signature__"] = Signature(parameters)
    unread = {"ignore_unknown_options": True, "allow_extra_args": True}
    summary = module_of(name).HELP.partition("\n")[0]
    app.command(name, help=summary, context_settings=unread, add_help_option=False)(command)


for _name in commands.COMMANDS:
    _hand_over(_name)


@app.command()
def opt(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX model, IR (.xml), or a module as text (.tw).")],
    passes: Annotated[
        str,
        typer.Option(metavar="PASS,…", help="The passes, in order; options in braces, such as canonicalize{limit=10}."),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=output_path,
            metavar="OUT.tw",
            help="Write the module there, and its large constants to blobs/ beside it, instead of to stdout.",
        ),
    ] = None,
    input_shape: InputShape = None,
    print_after: Annotated[list[str] | None, COMPILE_OPTIONS["print_after"]] = None,
    time_passes: Annotated[bool, COMPILE_OPTIONS["time_passes"]] = False,
    json_output: Json = False,
) -> None:
    """Run single passes, for work on the compiler.

    Reads a model or a module as text, and prints the module that the passes make of it.

    \b
    Example:
      tilewright opt model.onnx --passes fold_constants,canonicalize,fuse -o model.tw
    """
    from .optimize import optimize_file

    shapes = parse_input_shapes(input_shape)
    result = optimize_file(path, passes, output, shapes, print_after=print_after or ())
    if time_passes:
        sys.stderr.write(result.times())
    if json_output:
        show(result.to_json())
    elif output is None:
        show(str(result.module))


@app.command()
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX model, IR (.xml), or a module as text (.tw).")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            parser=output_path,
            metavar="OUT",
            help="The file to write: IR (version 11) for a name in .xml, with a .bin file beside it; otherwise ONNX.",
        ),
    ],
    quantized: Annotated[
        str | None,
        typer.Option(
            metavar="FORM",
            help="Quantise the network, with the scales that it brings or by --calibration. qdq: operators between "
            "DequantizeLinear and QuantizeLinear; qlinear: QLinear operators. Default: the network as it is.",
        ),
    ] = None,
    calibration: Annotated[str | None, COMPILE_OPTIONS["calibration"]] = None,
    preprocessing: Annotated[str | None, COMPILE_OPTIONS["preprocessing"]] = None,
    input_shape: InputShape = None,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Write a network as an ONNX model or as IR for other tools.

    The network is written as it is, or quantised.

    \b
    Examples:
      tilewright export resnet50.onnx -o int8.onnx --quantized qdq --calibration images/
      tilewright export resnet50.onnx -o resnet50.xml
    """
    from .export import export_model

    with progress_bars(quiet=quiet) as report:
        nodes = export_model(
            path,
            output,
            quantized=quantized,
            calibration=calibration,
            preprocessing=preprocessing,
            input_shapes=parse_input_shapes(input_shape),
            report=report,
        )
    if is_standard_output(output):
        return
    if json_output:
        show(json_text({"output": str(output), "nodes": nodes}))
    else:
        show(f"{output}: {', '.join(f'{count} {op_type}' for op_type, count in nodes.items()) or 'no nodes'}\n")


@app.command()
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=output_path,
            metavar="FOLDER",
            help="Where to put the artifact. Default: the user's cache folder.",
        ),
    ] = None,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Compile and run a network for handwritten digits.

    It comes with Tilewright. Prints its accuracy, and the time of an image, on each engine.

    \b
    Example:
      tilewright demo
    """
    from .demo.run import run_demo

    with progress_bars(quiet=quiet) as report:
        result = run_demo(output, report)
    show(json_text(result) if json_output else result.to_text())
