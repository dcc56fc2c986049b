"""From a model and a size to a network for the accelerator: what ``Compile`` does in both generations."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError, ModelError, PassError, warn

from ....artifact.artifact import Artifact
from ....artifact.manifest import TensorSpec
from ....compiler import compiler_for
from ....isa.encoding import INSTRUCTION_BYTES
from ....machines import machine as machines
from ...network import prepare
from ..errors import AcceleratorError, SizeWarning
from ..facts import Network
from ..flags import Flags
from .arrays import images_of
from .binary import Batch
from .sizes import Declared, Shape, Size, shape_of, shape_text

_STATIONARY = {0: "cheapest", 1: "weights", 2: "inputs", 3: "weights"}
"""What convolutions keep in the scratchpads, by the flag ``convalgo``."""


class DeclaredInput(NamedTuple):
    """An input as a model declares it: its shape has None for an open extent, and is None where its rank is open."""

    name: str
    dtype: str
    shape: Declared | None


def compile_network(
    model: str | os.PathLike[str],
    flags: Flags,
    batch: Batch,
    *,
    sizes: Sequence[Size] = (),
    shapes: Sequence[Shape] = (),
    picture: str | os.PathLike[str] | None = None,
    samples: Sequence[object] | np.ndarray | None = None,
    samples_by: str | None = None,
    layers: int = -1,
) -> tuple[Artifact, Batch]:
    """Compile a model for a batch, whose images are multiplied where a size says that there are several.

    Args:
        sizes: of the inputs, in their order; what is left out is as the model has it.
        shapes: instead of sizes, the shapes of the inputs.
        picture: one whose size is that of the only input, and which gives ranges where nothing else does.
        samples: inputs for calibration, each as calls take images.
        samples_by: how the caller was given them, for the warning that there were none.
        layers: how many layers to compile; 0 and -1 are all.

    Raises:
        TilewrightError: the model cannot be read or compiled, or does not allow the sizes.
    """
    if flags.mvbatch and batch.images % 4:
        what, expected = "mvbatch gives each of four units images of its own", "imgs_per_cluster a multiple of 4"
        raise AcceleratorError(what, stage="Compile", expected=expected, found=batch.images)
    path = _checked(model)
    with compiler_for("compiling a model"):
        from .....compiler.frontend.onnx import edit

    declared = [DeclaredInput(*each) for each in edit.declared_inputs(path)]
    if picture is not None:
        sizes = [_picture_size(picture, declared)]
    wanted, images = _shapes(declared, sizes, shapes)
    inputs = _fixed(declared, wanted, "Give the sizes of all inputs." if sizes else "Give the shapes with inshapes.")
    fixed = {each.name: each.shape for each in inputs}
    # The images that the network takes in one run: the first extent of all its inputs, where they have the same.
    first = {shape[0] for shape in wanted.values() if len(shape) > 1}
    held, asked = (first.pop() if len(first) == 1 else 1) or 1, batch
    if batch.images % held == 0:
        # The network itself takes several images of a cluster at once.
        batch = replace(batch, images=batch.images // held)
    batch = replace(batch, images=batch.images * images)
    layers = layers if layers > 0 else flags.nlayers
    cut = {"layers": layers if layers > 0 else None, "without_last": flags.lremove}
    changed = any(not _declares(each, wanted[each.name]) for each in declared)
    # All clusters of a card work on an image together, if the machine has as many.
    has_clusters = batch.clusters <= machines.load(flags.bitfile or machines.DEFAULT).clusters
    source: str | bytes = path
    if changed or any(cut.values()):
        source = edit.edited(path, input_shapes=fixed, **cut)
    try:
        artifact = prepare(
            source,
            samples=_samples(samples, inputs),
            picture=picture,
            machine=flags.bitfile or None,
            clusters=batch.clusters if batch.together and has_clusters else 1,
            input_shapes=fixed,
            samples_by=samples_by,
            takes_pictures=True,
            called=path,
            external_data=Path(path).parent,
            stationary=_STATIONARY[flags.convalgo],
            keep_float=() if flags.hwlinear else ("matmul",),
            time_passes="I" in flags.debug,
        )
    except (ModelError, IRError, PassError) as error:
        if not changed:
            raise
        if shapes and all(_takes_one(each, wanted[each.name]) for each in declared):
            # The batch is computed one image after the other, as it is where a size says it.
            return compile_network(model, flags, asked, samples=samples, samples_by=samples_by, layers=layers)
        raise AcceleratorError(
            f"the network does not allow inputs of this size: {error}",
            stage="Compile",
            expected=", ".join(f"{each.name} {shape_text(each.shape or ())}" for each in declared),
            found=", ".join(f"{name} {list(shape)}" for name, shape in wanted.items()),
        ) from error
    _check_instructions(artifact, flags.max_instr)
    return artifact, batch


def _check_instructions(artifact: Artifact, limit: int) -> None:
    if not limit:
        return
    programs = [program for cards in Network(artifact).programs.values() for program in cards]
    count = sum(len(data) // INSTRUCTION_BYTES for program in programs for data in program.queues.values())
    if count > limit:
        what, expected = "the program is longer than max_instr allows", f"at most {limit} instructions"
        raise AcceleratorError(what, stage="Compile", expected=expected, found=count)


def _checked(model: object) -> str:
    """The path of a model, if it can be one in ONNX."""
    accepted = "the path of an ONNX model"
    if not isinstance(model, (str, os.PathLike)):
        raise AcceleratorError("this is no model", stage="Compile", expected=accepted, found=type(model).__name__)
    path = os.fspath(model)
    hint = ""
    if os.path.isdir(path):
        if os.path.exists(os.path.join(path, "saved_model.pb")):
            hint = "Convert the saved model first: python -m tf2onnx.convert --saved-model FOLDER --output MODEL.onnx"
        what = f"{path!r} is a folder"
        raise AcceleratorError(what, stage="Compile", expected=accepted, found="a folder", hint=hint or None)
    if path.endswith((".nnef", ".tgz")):
        what = f"{path!r} is in no format that is read"
        raise AcceleratorError(what, stage="Compile", expected=accepted, found=Path(path).suffix)
    return path


def _picture_size(picture: str | os.PathLike[str], declared: Sequence[DeclaredInput]) -> Size:
    from ....pictures.image_file import read_image

    image = read_image(picture, "RGB")
    shape = (declared[0].shape if declared else None) or ()
    planes = shape[-3] if len(shape) >= 3 else None
    return Size(image.width, image.height, planes or 3)


def _shapes(
    declared: Sequence[DeclaredInput], sizes: Sequence[Size], shapes: Sequence[Shape]
) -> tuple[dict[str, Declared], int]:
    """The shapes of inputs whose rank is known, and how many images go in at once; an open extent is None."""
    given = max(len(sizes), len(shapes))
    if given > len(declared):
        names = ", ".join(each.name for each in declared)
        expected = f"at most {len(declared)}: {names}"
        raise AcceleratorError("there are more sizes than inputs", stage="Compile", expected=expected, found=given)
    found: dict[str, Declared] = {}
    counts: set[int] = set()
    for index, each in enumerate(declared):
        if index < len(shapes):
            found[each.name] = shapes[index]
        elif index < len(sizes):
            size = sizes[index]
            shape = each.shape if each.shape is not None else (None,) * (len(size.image) + 1)
            try:
                found[each.name], images = shape_of(each.name, shape, size)
            except AcceleratorError as error:
                if len(sizes) == 1 or None in shape:
                    raise
                # Existing programs copy the size of one state to another: whether their arrays fit is told with these.
                warn(f"{error}. It is compiled as the model has it", SizeWarning)
                found[each.name] = shape
            else:
                counts.add(images)
        elif each.shape is not None:
            # One image, where the model leaves the batch open.
            found[each.name] = (1, *each.shape[1:]) if each.shape[:1] == (None,) else each.shape
    if len(counts) > 1:
        found_sizes = ", ".join(map(str, sizes))
        raise AcceleratorError("the sizes are of different numbers of images", stage="Compile", found=found_sizes)
    return found, counts.pop() if counts else 1


def _declares(declared: DeclaredInput, wanted: Declared) -> bool:
    """Whether a shape is one that the model allows as it is."""
    if declared.shape is None:
        return True
    return len(wanted) == len(declared.shape) and all(
        theirs is None or ours == theirs for ours, theirs in zip(wanted, declared.shape, strict=True)
    )


def _takes_one(declared: DeclaredInput, wanted: Declared) -> bool:
    """Whether a shape is the one that the model declares for one image, but for the batch."""
    shape = declared.shape or ()
    return shape[:1] == (1,) and shape[1:] == wanted[1:]


def _fixed(declared: Sequence[DeclaredInput], wanted: Mapping[str, Declared], hint: str) -> list[TensorSpec]:
    """The inputs in their shapes, none of which may be open."""
    found: list[TensorSpec] = []
    for each in declared:
        shape = wanted.get(each.name)
        extents = tuple(extent for extent in shape or () if extent is not None)
        if shape is None or len(extents) < len(shape):
            text = "of unknown rank" if shape is None else shape_text(shape)
            raise AcceleratorError(f"input {each.name!r} has an open shape {text}", stage="Compile", hint=hint)
        found.append(TensorSpec(each.name, each.dtype, extents))
    return found


def _samples(
    samples: Sequence[object] | np.ndarray | None, inputs: Sequence[TensorSpec]
) -> list[dict[str, np.ndarray]] | None:
    """Samples as arrays by input name, in the shapes of the inputs."""
    if samples is None:
        return None
    if isinstance(samples, np.ndarray):
        return images_of(samples, [inputs], only_float32=False)[0]
    if not isinstance(samples, (list, tuple)) or not samples:
        found = type(samples).__name__
        raise AcceleratorError("there are no samples", stage="Compile", expected="a list of arrays", found=found)
    return [image for sample in samples for image in images_of(sample, [inputs], only_float32=False)[0]]
