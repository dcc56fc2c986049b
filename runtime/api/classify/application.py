"""The application put together: an artifact and what the options make of it, and the files to classify."""

import os
import re
import stat
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tilewright import limits
from tilewright.errors import InputError, UsageError
from tilewright.limits import check_count

from ...artifact.artifact import Artifact
from ...artifact.manifest import ENGINES
from ...compiler import compiler_for
from ...files.input_file import contents
from ...native.host import processors
from ...pictures.inputs import Declaration
from ...session import choose_engine, load
from ..network import accelerator_engine
from .classifier import Classifier, in_batches
from .pipeline import BUFFERS, Classification, classify

_PIECE = 2**20
"""Bytes of the file that are taken apart at once."""

_SEPARATOR = re.compile(rb"[,\s]")

_INTEGERS = {f"{number:0{width}}".encode(): number for width in range(1, 5) for number in range(-128, 256)}
_INTEGERS |= dict.fromkeys((b"-0", b"-00", b"-000"), 0)
"""What words mean, with as many zeros before as they have room for, and the zeros that NumPy writes of -0.4."""


def read_integers(path: str | os.PathLike[str], expected: int, what: str) -> np.ndarray:
    """The integers in a file, int16[expected].

    The original program reads the nothing after the last comma as one more number, which it drops: so one more is
    dropped here.
    ``what``: has so many integers, for the message.
    Raises InputError: the file cannot be read, holds another number of integers, or something else than integers of
    -128 to 255; says where."""
    name = os.fspath(path)
    text, numbers, start = contents(name, limits.WEIGHTS_FILE), array("h"), 0
    # In pieces that end between numbers: memory is taken for those that are expected, whatever the file holds.
    while start < len(text) and len(numbers) <= expected + 1:
        separator = _SEPARATOR.search(text, start + _PIECE)
        end = separator.start() if separator else len(text)
        try:
            numbers.extend(map(_INTEGERS.__getitem__, text[start:end].replace(b",", b" ").split()))
        except KeyError as error:
            place = f"{error.args[0][:20]!r} as number {len(numbers) + 1}"
            raise InputError(f"{name!r} holds more than integers", expected="-128 to 255", found=place) from None
        start = end
    if len(numbers) not in (expected, expected + 1):
        found = len(numbers) if len(numbers) < expected else f"more than {expected + 1}"
        raise InputError(f"{name!r} does not fit {what}", expected=f"{expected} integers, row by row", found=found)
    return np.array(numbers[:expected], np.int16)


def list_files(path: str | os.PathLike[str]) -> list[str]:
    """The file, or the regular files of the folder itself in the order in which the system lists them.
    Raises InputError: there is no such file or folder, or no file in it."""
    name = os.fspath(path)
    try:
        if not os.path.isdir(name):
            os.stat(name)
            return [name]
        files = [each for each in (os.path.join(name, each) for each in os.listdir(name)) if _may_be_image(each)]
    except OSError as error:
        raise InputError(f"cannot read {error.filename or name!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"cannot read {name!r}: {error}") from None
    if not files:
        raise InputError(f"there is no file in {name!r}", expected="images", hint="Subfolders are not looked into.")
    return files


def _may_be_image(file: str) -> bool:
    """Whether it is a regular file; also of a link that leads nowhere, for decoding to tell what is wrong with it."""
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except OSError:
        return True


def with_last_layer(artifact: Artifact, engine: str, integers: Callable[[int, str], np.ndarray]) -> Artifact:
    """The artifact with other integers in its last layer with weights, which keeps its scales and biases.

    With the layer's own integers it is the artifact itself. Floating point gets the numbers that they stand for.
    ``integers``: gives the integers, row by row, a class a row; called with their number and words for what has them.
    Raises InputError: the network has no integers, or not these."""
    with compiler_for("replacing the weights of a layer"):
        from ....compiler.weights import Parameters, last_layer, with_parameters

    held = next((name for name in ("software", "device") if name in artifact.manifest.engines), None)
    layer = last_layer(artifact, held) if held is not None else None
    if layer is None or held is None or not layer.is_quantized:
        hint = "Compile the model with precision int8."
        raise InputError("this network has no integers to replace: it is in floating point", hint=hint)
    shape = layer.weights.shape
    what = f"layer {layer.name!r} of {shape[0]} outputs and {layer.weights.size // shape[0]} inputs"
    found = integers(layer.weights.size, what)
    bounds = np.iinfo(layer.weights.dtype)
    if found.min() < bounds.min or found.max() > bounds.max:
        raise InputError(
            f"the integers do not fit {what}",
            expected=f"{bounds.min} to {bounds.max}",
            found=f"{found.min()} to {found.max()}",
        )
    stored = found.astype(layer.weights.dtype).reshape(shape)
    if np.array_equal(stored, layer.weights):
        return artifact
    if engine == held:
        return with_parameters(artifact, engine, {layer.name: Parameters(stored)})
    own = last_layer(artifact, engine)
    values = stored if own.is_quantized else layer.real(stored)
    return with_parameters(artifact, engine, {own.name: Parameters(values.reshape(own.weights.shape))})


def open_network(
    artifact: Artifact, *, engine: str | None = None, weights: str | os.PathLike[str] | None = None
) -> tuple[Artifact, str]:
    """The artifact to run, and by which engine.
    ``engine``: by default the one that stands for the accelerator.
    ``weights``: the file of integers of the last layer, if they are to be replaced.
    Raises UsageError: there is no such engine."""
    if engine is not None and engine not in ENGINES:
        raise UsageError("unknown engine", expected=" or ".join(ENGINES), found=repr(engine))
    chosen = choose_engine(artifact, engine or accelerator_engine(artifact))
    if weights is None:
        return artifact, chosen
    return with_last_layer(artifact, chosen, lambda count, what: read_integers(weights, count, what)), chosen


class Application:
    """A network loaded to classify images. Use it as a context manager, or call `close` when done.

    Args:
        artifact: the network.
        weights: the file of integers of the last layer, if they are to be replaced.
        engine: which computes; by default the one that stands for the accelerator.
        batch: images that are handed over together; of an artifact of several batches it chooses one.
        preprocessing, label_offset, force: as for `Classifier`.

    Attributes:
        session: of the network.
        classifier: what it means.
    """

    def __init__(
        self,
        artifact: str | os.PathLike[str] | Artifact,
        *,
        weights: str | os.PathLike[str] | None = None,
        engine: str | None = None,
        batch: int = 1,
        preprocessing: Declaration | None = None,
        label_offset: int | None = None,
        force: bool = False,
    ) -> None:
        opened = artifact if isinstance(artifact, Artifact) else Artifact.open(Path(artifact))
        self.batch = check_count("batch", batch)
        opened = in_batches(opened, self.batch)
        self.classifier = Classifier(opened, preprocessing, label_offset, force=force)
        opened, chosen = open_network(opened, engine=engine, weights=weights)
        # Whatever is in the buffers is in the session's queue.
        self.session = load(opened, engine=chosen, workers=processors(), queue=BUFFERS * self.batch)

    def classify(
        self, files: Sequence[str], *, threads: int = 1, report: Callable[[int], None] = lambda done: None
    ) -> Classification:
        """Classify the images in files; see `pipeline.classify`."""
        batch, threads = min(self.batch, len(files)), check_count("threads", threads)
        return classify(self.session, self.classifier, files, batch=batch, threads=threads, report=report)

    def close(self) -> None:
        """End the session. Idempotent."""
        self.session.close()

    def __enter__(self) -> "Application":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
