"""Chosen passes over a module in a file: ``tilewright opt``."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from tilewright.errors import InputError, ParseError, UsageError, resources

from ..ir.core import Module
from ..ir.verify import verify
from ..passes.base import Record, print_option
from ..passes.instruments import Print, Timing, dump_module, instruments_from_environment, load_dump
from ..passes.pipeline import Pipeline, check_names
from ..passes.registry import PASSES
from ..runtime.files.foreign_model import START, foreign_format
from ..runtime.files.output_file import check_output
from ..runtime.report.table import json_text
from .frontend.formats import IR_SUFFIX, InputShapes, import_model


@dataclass(frozen=True)
class Optimized:
    """A module, and what each pass did to it."""

    module: Module
    records: list[Record]

    def times(self) -> str:
        """How long each pass took, as a table."""
        timing = Timing()
        timing.records += self.records
        return f"{timing}\n"

    def to_json(self) -> str:
        passes = [
            {
                "name": each.name,
                "modified": each.modified,
                "seconds": each.seconds,
                "changes": dict(each.counts),
                "declined": each.declined,
            }
            for each in self.records
        ]
        return json_text({"passes": passes, "module": str(self.module)})


@resources("read module")
def read_module(path: Path, input_shapes: InputShapes, external_data: str | os.PathLike[str] | None = None) -> Module:
    """The module of a model, ONNX or IR, or of a text with its arrays in ``blobs/`` beside it.

    Args:
        input_shapes, external_data: see :func:`import_model`; for models only.

    Raises:
        ModelError, InputError: the file cannot be read, or is not what its name says.
        UsageError: shapes are given for a text, which has its own.
        ParseError, VerifyError: the text is malformed, or is no sound module.
    """
    if path.suffix in (".onnx", IR_SUFFIX):
        return import_model(path, input_shapes, external_data)
    if input_shapes:
        raise UsageError("--input-shape is for ONNX models; the shapes of a module are fixed", found=str(path))
    try:
        module = load_dump(path)
    except ParseError as error:
        error.message = f"module {str(path)!r}: {error.message}"
        raise
    except UnicodeDecodeError:
        found = foreign_format(path.read_bytes()[:START])
        if found is not None:
            raise InputError(f"{str(path)!r} is {found.name}, no module", hint=found.advice(str(path))) from None
        raise InputError(f"{str(path)!r} is neither an ONNX model (.onnx) nor a module as text") from None
    verify(module, stage="read")
    return module


def passes_text(*, as_json: bool = False) -> str:
    """All passes by name: what each is for, and its options with their types and what they are by default."""
    listed = {
        name: {
            "summary": (sys.modules[cls.__module__].__doc__ or "").partition("\n")[0],
            "options": {
                each.name: f"{each.type}" + ("" if each.default is MISSING else f" = {print_option(each.default)}")
                for each in fields(cls)
            },
        }
        for name, cls in PASSES.items()
    }
    if as_json:
        return json_text(listed)
    lines = []
    for name, each in listed.items():
        lines += [f"{name}: {each['summary']}", *(f"    {key}: {type}" for key, type in each["options"].items())]
    return "\n".join(lines) + "\n"


@resources("opt")
def optimize_file(
    path: Path,
    passes: str,
    output: Path | None,
    input_shapes: InputShapes,
    *,
    print_after: Collection[str] = (),
) -> Optimized:
    """Run passes on the module of a file.

    Args:
        path: an ONNX model, or a module as text.
        passes: a pipeline as text, such as ``fold_constants,canonicalize{limit=10},fuse``.
        output: where to write the module, its large constants in ``blobs/`` beside it.
        print_after: passes after which the module is printed to stderr.

    Raises:
        UsageError: ``passes`` or ``print_after`` names what is not there, or the output is the model.
        TilewrightError: see :func:`read_module`; PassError if a pass failed.
    """
    try:
        pipeline = Pipeline.parse(passes)
    except ParseError as error:
        raise UsageError(f"--passes: {error}") from None
    check_names(print_after, [each.name for each in pipeline.passes])
    if output is not None:
        if output.suffix == ".onnx":
            raise UsageError("opt writes a module as text", found=str(output), hint="`tilewright export` writes ONNX.")
        check_output(output, source=path)
    module = read_module(path, input_shapes)
    records = pipeline.run(module, instruments=[*instruments_from_environment(), Print(print_after)])
    if output is not None:
        dump_module(output, module)
    return Optimized(module, records)
