"""The ``tilewright`` command. Each subcommand is a thin shell around a function that Python programs can call too."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

import tilewright
from tilewright.errors import InputError, TilewrightError, UsageError

from .console import Diagnostics, ExitCode, exit_code
from .options import CompileOptions, flag_of
from .table import json_text

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

# By its base, because Typer brings Click along or imports it, depending on its version.
_UsageErrorOfTyper: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="tilewright",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compile ONNX networks ahead of time, and run, inspect and measure the result.\n\n"
    "Typical use: `tilewright compile model.onnx -o model.twa`, then `tilewright run model.twa input.npy`. "
    "Results go to stdout; progress, warnings and errors go to stderr. "
    "Exit codes: 0 success, 1 bad input, 2 wrong usage, 3 unsupported model under `--strict`.",
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no warnings on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Artifact = Annotated[Path, typer.Argument(metavar="FILE.twa", help="An artifact made by `tilewright compile`.")]
Engine = Annotated[
    str | None, typer.Option(help="device, software or float. Default: the first of these that the artifact holds.")
]
COMPILE_OPTIONS = {
    each.name: typer.Option(flag_of(each), metavar=each.metadata["metavar"], help=each.metadata["help"])
    for each in fields(CompileOptions)
    if each.metadata["type"] is not None
}
InputShape = Annotated[list[str] | None, COMPILE_OPTIONS["input_shapes"]]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code.

    Every error is one paragraph on stderr; with ``TILEWRIGHT_DEBUG`` set it is raised instead, for its traceback.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(words, standalone_mode=False, prog_name="tilewright")
        sys.stdout.flush()
    except SystemExit as stop:
        # Typer's way to say that the reader of our output has seen enough, and of completion to end.
        code = ExitCode.SUCCESS if isinstance(stop.__context__, BrokenPipeError) else stop.code
    except BrokenPipeError:
        # What is still buffered must not make Python complain when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.SUCCESS
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        if os.environ.get("TILEWRIGHT_DEBUG"):
            raise
        shown = explain(error)
        if shown is None:
            return ExitCode.USAGE
        Diagnostics().error(shown)
        code = exit_code(shown, strict="--strict" in words)
    return code if isinstance(code, int) else ExitCode.SUCCESS


def explain(error: Exception) -> TilewrightError | None:
    """The error that users read about ``error``; ``None`` where help has been printed and says enough."""
    if isinstance(error, TilewrightError):
        return error
    if isinstance(error, _UsageErrorOfTyper):
        usage: Any = error
        context = usage.ctx
        if type(error).__name__ == "NoArgsIsHelpError":
            return None
        command = context.command_path if context is not None else "tilewright"
        return UsageError(usage.format_message().rstrip("."), hint=f"See `{command} --help`.")
    if isinstance(error, MemoryError):
        return TilewrightError("this machine does not have enough memory")
    if isinstance(error, OSError):
        what = f"use {error.filename!r}" if error.filename else "write the output"
        return InputError(f"cannot {what}: {error.strerror or error}")
    return TilewrightError(
        f"internal error: {type(error).__name__}: {error}",
        hint="This is a bug in Tilewright; please report it with the traceback that TILEWRIGHT_DEBUG=1 shows.",
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tilewright {tilewright.__version__}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def parse_input_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes by input name from texts such as ``image=1,3,224,224``.

    Raises:
        UsageError: a text is of another form.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, extents = text.rpartition("=")
        try:
            shapes[name] = tuple(int(extent) for extent in extents.replace("x", ",").split(",")) if extents else ()
        except ValueError:
            name = ""
        if not name:
            raise UsageError("wrong --input-shape", expected="NAME=1,3,224,224", found=text)
    return shapes


def compile(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The ONNX model.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT.twa", help="Default: MODEL.twa in this folder.")
    ] = None,
    quiet: Quiet = False,
    json_output: Json = False,
    **chosen: Any,
) -> None:
    """Compile an ONNX model into an artifact.

    Examples:

    `tilewright compile resnet50.onnx -o resnet50.twa --input-shape data=1,3,224,224`

    `tilewright compile resnet50.onnx -o resnet50.twa --precision int8 --calibration images/ --machine m4096`
    """
    from .driver import compile_to_file
    from .report.summary import summarize

    target = output if output is not None else Path(model.with_suffix(".twa").name)
    diagnostics = Diagnostics(quiet=quiet)
    chosen["input_shapes"] = parse_input_shapes(chosen["input_shapes"])
    with diagnostics.progress() as report:
        artifact = compile_to_file(model, target, CompileOptions(**chosen, report=report))
    summary = summarize(artifact)
    for warning in summary.warnings:
        diagnostics.warning(warning)
    typer.echo(json_text(summary) if json_output else summary.to_text(str(target)), nl=False)


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


@app.command()
def run(
    artifact: Artifact,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT…",
            help="FILE.npy; NAME=FILE.npy where the network has several inputs; or FILE.npz with an array for each.",
        ),
    ] = None,
    random: Annotated[
        int | None, typer.Option(min=0, metavar="SEED", help="Run on random inputs made from this seed instead.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE.npz", help="Save the outputs.")] = None,
    engine: Engine = None,
    machine: Annotated[
        str | None,
        typer.Option(metavar="MACHINE", help="The accelerator at hand; an artifact made for another one is refused."),
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print the time of each step, not the results.")] = False,
    json_output: Json = False,
) -> None:
    """Run an artifact and print its outputs.

    Example: `tilewright run resnet50.twa image.npy -o scores.npz`
    """
    from ..runtime.files.output_file import check_output
    from ..runtime.session import load
    from .report.execution import gather_inputs, profile_table, results_json, results_text, save_outputs

    if profile and output is not None:
        raise UsageError("--profile prints times and has no outputs to save", hint="Leave --profile or --output out.")
    if output is not None:
        check_output(output, source=artifact)
    with load(artifact, engine=engine, machine=machine) as session:
        arrays = gather_inputs(session.inputs, inputs or [], random)
        if profile:
            table = profile_table(session.profile(arrays))
            typer.echo(json_text(table.records()) if json_output else table.text(), nl=False)
            return
        results = session.run(arrays)
    if output is not None:
        save_outputs(output, results)
    typer.echo(results_json(results) if json_output else results_text(results), nl=False)


@app.command()
def inspect(
    path: Annotated[Path | None, typer.Argument(metavar="FILE", help="An artifact (.twa) or an ONNX model.")] = None,
    ir: Annotated[bool, typer.Option("--ir", help="Print the intermediate representation.")] = False,
    supported_ops: Annotated[
        bool, typer.Option("--supported-ops", help="Print all supported operators in Markdown; needs no file.")
    ] = False,
    input_shape: InputShape = None,
    engine: Engine = None,
    memory: Annotated[bool, typer.Option("--memory", help="Also show where intermediate results lie.")] = False,
    disassemble: Annotated[
        bool, typer.Option("--disassemble", help="Print the instructions of the device programs.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Show what is in an artifact or a model: layers, where they run, memory.

    Example: `tilewright inspect resnet50.twa --json`
    """
    from ..runtime.artifact.artifact import Artifact as ArtifactFile
    from .report.inspection import artifact_ir, disassembly, inspect_artifact, inspect_model
    from .report.supported import device_rules, supported_onnx_operators, supported_operators

    if supported_ops + ir + memory + disassemble > 1:
        raise UsageError("--supported-ops, --ir, --memory and --disassemble show different things", hint="Give one.")
    if disassemble and engine is not None:
        raise UsageError("--disassemble shows the only engine with instructions", hint="Leave --engine out.")
    if supported_ops:
        tables = {"operators": supported_operators(), "device": device_rules(), "onnx": supported_onnx_operators()}
        shown = json_text({key: table.records() for key, table in tables.items()}) if json_output else None
        typer.echo(shown or "\n".join(table.markdown() for table in tables.values()), nl=False)
        return
    if path is None:
        raise UsageError("inspect needs a file", hint="Give an artifact or a model, or --supported-ops.")
    shapes = parse_input_shapes(input_shape)
    if path.suffix == ".onnx":
        if engine is not None or memory or disassemble:
            raise UsageError("--engine, --memory and --disassemble are for artifacts", found=str(path))
        text = inspect_model(path, shapes, ir=ir, as_json=json_output)
    else:
        if shapes:
            raise UsageError("--input-shape is for models", found=str(path))
        artifact = ArtifactFile.open(path)
        if disassemble:
            text = disassembly(artifact, as_json=json_output)
        elif ir:
            text = artifact_ir(artifact, engine, as_json=json_output)
        else:
            text = inspect_artifact(artifact, as_json=json_output, engine=engine, memory=memory)
    typer.echo(text, nl=False)


@app.command()
def opt(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX model, or a module as text (.tw).")],
    passes: Annotated[
        str,
        typer.Option(metavar="PASS,…", help="The passes, in order; options in braces, such as canonicalize{limit=10}."),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.tw",
            help="Write the module there, and its large constants to blobs/ beside it, instead of to stdout.",
        ),
    ] = None,
    input_shape: InputShape = None,
    print_after: Annotated[list[str] | None, COMPILE_OPTIONS["print_after"]] = None,
    time_passes: Annotated[bool, COMPILE_OPTIONS["time_passes"]] = False,
    json_output: Json = False,
) -> None:
    """Run passes on a model or a module and print the result, for work on the compiler itself.

    Example: `tilewright opt model.onnx --passes fold_constants,canonicalize,fuse -o model.tw`
    """
    from .optimize import optimize_file

    shapes = parse_input_shapes(input_shape)
    result = optimize_file(path, passes, output, shapes, print_after=print_after or ())
    if time_passes:
        sys.stderr.write(result.times())
    if json_output:
        typer.echo(result.to_json(), nl=False)
    elif output is None:
        typer.echo(str(result.module), nl=False)


@app.command()
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX model, or a module as text (.tw).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.onnx", help="The ONNX model to write.")],
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
    """Write a network as an ONNX model, as it is or quantised, for other tools.

    Example: `tilewright export resnet50.onnx -o resnet50_int8.onnx --quantized qdq --calibration images/`
    """
    from .export import export_model

    with Diagnostics(quiet=quiet).progress() as report:
        nodes = export_model(
            path,
            output,
            quantized=quantized,
            calibration=calibration,
            preprocessing=preprocessing,
            input_shapes=parse_input_shapes(input_shape),
            report=report,
        )
    if json_output:
        typer.echo(json_text({"output": str(output), "nodes": nodes}), nl=False)
    else:
        typer.echo(f"{output}: {', '.join(f'{count} {op_type}' for op_type, count in nodes.items()) or 'no nodes'}")


@app.command()
def simulate(artifact: Artifact, json_output: Json = False) -> None:
    """Print the modelled time of each layer on the accelerator.

    Example: `tilewright simulate resnet50.twa --json`
    """
    from ..runtime.artifact.artifact import Artifact as ArtifactFile
    from .report.simulation import simulate_artifact

    simulation = simulate_artifact(ArtifactFile.open(artifact))
    typer.echo(json_text(simulation) if json_output else simulation.to_text(), nl=False)


@app.command()
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Where to put the artifact. Default: the user's cache folder."
        ),
    ] = None,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Compile and run the embedded network for handwritten digits, and print its accuracy and time per image."""
    from .demo.run import run_demo

    with Diagnostics(quiet=quiet).progress() as report:
        result = run_demo(output, report)
    typer.echo(json_text(result) if json_output else result.to_text(), nl=False)
