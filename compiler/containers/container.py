"""Containers of models for the devices of the kp API."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

import tilewright
from tilewright.errors import UsageError, resources

from ...codegen.package import Package
from ...ir.core import Value
from ...runtime.artifact.manifest import ENGINES
from ...runtime.commands.console import progress_bar
from ...runtime.containers.files import check_ids, check_target, container_bytes, read_container
from ...runtime.containers.records import ContainedModel, ContainedTensor, Container
from ...runtime.files.output_file import check_output, write_file
from ..declarations import check_type, option, with_keywords
from ..driver import Compilation, Document, Model, ModelProto, build
from ..options import IDS_HELP, KP_TARGET, RADIX_HELP, TARGET_HELP, CompileOptions
from .interface import Interface


@dataclass(frozen=True, kw_only=True)
class ContainerCompilation(CompileOptions):
    """What ``tilewright.compile_container`` takes: the options, and what to compile where."""

    models: str | os.PathLike[str] | bytes | ModelProto | Document | list[Any] | tuple[Any, ...] = field(
        kw_only=False, metadata={"documentation": "A model or several, each in a form that tilewright.compile takes."}
    )
    kp_id: int | list[int] | tuple[int, ...] = field(kw_only=False, metadata={"documentation": IDS_HELP})
    kp_target: str = option(KP_TARGET, TARGET_HELP)
    kp_radix: int | None = option(None, RADIX_HELP)
    output: str | os.PathLike[str] | None = option(None, "The file to write.")
    progress: bool = option(False, "Show a progress bar on stderr if that is a terminal.")


@with_keywords(ContainerCompilation, "tilewright.compile_container")
@resources("compile")
def compile_container(compilation: ContainerCompilation) -> Container:
    """Compile models into a container that devices of the kp API load; this is ``tilewright.compile_container``.

    Each model takes an image as int8 [1, C, H, W] and gives int8 outputs of four dimensions, all with zero point 0; as
    integers, they are the same on each engine. Outputs that are computed in floating point, such as those of a softmax,
    are rounded to integers at the end.
    Raises UnsupportedError: a model takes another than one image, or gives integers of its own; NoCalibrationError:
    nothing tells the range of an input or output; TilewrightError: as ``tilewright.compile``; UsageError for wrong ids
    or devices."""
    models, ids = _pairs(compilation)
    check_target(compilation.kp_target)
    check_ids(ids)
    if compilation.precision not in (None, "int8"):
        raise UsageError("devices of the kp API compute in integers", expected="int8", found=compilation.precision)
    if compilation.output is not None:
        for model in models:
            check_output(compilation.output, source=model)
    interface = Interface(compilation.kp_radix)
    contained: list[ContainedModel] = []
    with progress_bar(quiet=not compilation.progress) as report:
        # Devices of the kp API compute by any engine, as the environment says.
        engines = compilation.engines if compilation.engines is not None else ENGINES
        options = replace(
            compilation, precision="int8", engines=engines, **({"report": report} if compilation.progress else {})
        )
        for model, id in zip(models, ids, strict=True):
            contained.append(contained_model(build(model, options, interface), id))
    content = container_bytes(contained, compilation.kp_target, f"tilewright {tilewright.__version__}")
    if compilation.output is not None:
        write_file(compilation.output, content)
    return read_container(content)


def _pairs(compilation: ContainerCompilation) -> tuple[list[Model], list[int]]:
    hints = {each.name: str(each.type) for each in fields(compilation)}
    for name in ("kp_id", "kp_target", "kp_radix"):
        check_type(name, getattr(compilation, name), hints[name])
    models, ids = compilation.models, compilation.kp_id
    models = [*models] if isinstance(models, (list, tuple)) else [models]
    (accepted,) = (str(each.type) for each in fields(Compilation) if each.name == "model")
    for model in models:
        check_type("models", model, accepted)
    ids = [*ids] if isinstance(ids, (list, tuple)) else [ids]
    for id in ids:
        check_type("kp_id", id, "int")
    if len(models) != len(ids):
        raise UsageError(
            "a container needs an id for each model",
            expected=f"{len(models)} ids",
            found=len(ids),
            hint="Repeat --kp-id in the order of the models.",
        )
    return models, ids


def contained_model(package: Package, id: int) -> ContainedModel:
    """A network that was compiled with an interface of integers, as a model of a container."""
    main = package.module.main
    shapes = package.details["source_shapes"]
    assert isinstance(shapes, dict)
    outputs = zip(main.result_names, main.results, shapes["outputs"], strict=True)
    parameter, shape = main.parameters[0], shapes["inputs"][0]
    return ContainedModel(
        id=id,
        artifact=package.to_bytes(),
        inputs=(_node(parameter.name, parameter, shape),),
        outputs=tuple(_node(name, value, shape) for name, value, shape in outputs),
    )


def _node(name: str, value: Value, source_shape: Sequence[int]) -> ContainedTensor:
    type = value.type
    assert type.quant is not None, value
    one, channels, height, width = type.shape
    mantissa, exponent = math.frexp(1 / type.quant.scale[0])
    # From 1 to 2, as single precision has it.
    scale = float(np.float32(2 * mantissa))
    return ContainedTensor(name, (one, channels, height, width), exponent - 1, scale, tuple(source_shape))
