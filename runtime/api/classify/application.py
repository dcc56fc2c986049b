"""The application put together: an artifact and what the options make of it, and the files to classify."""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from tilewright import limits
from tilewright.errors import InputError, UsageError
from tilewright.limits import check_count

from ...artifact.artifact import Artifact
from ...artifact.manifest import ENGINES
from ...compiler import compiler_for
from ...files.input_file import contents
from ...pictures.inputs import Declaration
from ...session import choose_engine, load
from ..network import accelerator_engine
from .classifier import Classifier, in_batches
from .pipeline import BUFFERS, Classification, classify

_LONGEST = 4
"""Characters of a number from -128 to 255."""

_PIECE = 2**20
"""Bytes of the file that are taken apart at once."""


def read_integers(path: str | os.PathLike[str], expected: int, what: str) -> np.ndarray:
    """The integers in a file, int16[expected].

    The original program reads the nothing after the last comma as one more number, which it drops: so one more is
    dropped here.

    Args:
        what: has so many integers, for the message.

    Raises:
        InputError: the file cannot be read, holds another number of integers, or something else than integers of -128
            to 255; says where.
    """
    name = os.fspath(path)
    text = np.frombuffer(contents(name, limits.WEIGHTS_FILE), np.uint8)
    parts: list[np.ndarray] = []
    count = start = 0
    # In pieces that end between numbers: memory is taken for those that are expected, whatever the file holds.
    while start < text.size and count <= expected + 1:
        piece = text[start : start + _PIECE]
        is_separator = (piece == ord(",")) | (piece <= ord(" "))
        if start + piece.size < text.size and is_separator.any():
            piece = piece[: piece.size - int(is_separator[::-1].argmax())]
            is_separator = is_separator[: piece.size]
        edges = np.flatnonzero(np.diff(np.concatenate([[True], is_separator, [True]]).astype(np.int8)))
        parts.append(_numbers(piece, edges[::2], edges[1::2], count, name))
        count += len(parts[-1])
        start += piece.size
    if count not in (expected, expected + 1):
        found = count if count < expected else f"more than {expected + 1}"
        raise InputError(f"{name!r} does not fit {what}", expected=f"{expected} integers, row by row", found=found)
    return np.concatenate(parts)[:expected] if parts else np.zeros(0, np.int16)


def _numbers(text: np.ndarray, starts: np.ndarray, ends: np.ndarray, before: int, name: str) -> np.ndarray:
    """The values of all words at once, one digit after the other; so many came before them."""
    lengths = ends - starts
    wrong = lengths > _LONGEST
    values, is_negative = np.zeros(len(starts), np.int16), np.zeros(len(starts), bool)
    padded = np.concatenate([text, np.zeros(_LONGEST, np.uint8)])
    for position in range(_LONGEST):
        character = padded[starts + position]
        is_inside = lengths > position
        digit = character.astype(np.int16) - ord("0")
        is_digit = is_inside & (digit >= 0) & (digit <= 9)
        is_sign = is_inside & (position == 0) & (character == ord("-")) & (lengths > 1)
        wrong |= is_inside & ~is_digit & ~is_sign
        is_negative |= is_sign
        values = np.where(is_digit, values * 10 + digit, values)
    values = np.where(is_negative, -values, values)
    wrong |= (values < -128) | (values > 255)
    if wrong.any():
        first = int(wrong.argmax())
        found = bytes(text[starts[first] : ends[first]][:20])
        place = f"{found!r} as number {before + first + 1}"
        raise InputError(f"{name!r} holds more than integers", expected="-128 to 255", found=place)
    return values


def list_files(path: str | os.PathLike[str]) -> list[str]:
    """The file, or the regular files of the folder itself in the order in which the system lists them.

    Raises:
        InputError: there is no such file or folder, or no file in it.
    """
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

    Args:
        integers: gives the integers, row by row, a class a row; called with their number and words for what has them.

    Raises:
        InputError: the network has no integers, or not these; and as `integers` and `with_parameters`.
    """
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

    Args:
        engine: by default the one that stands for the accelerator.
        weights: the file of integers of the last layer, if they are to be replaced.

    Raises:
        UsageError: there is no such engine.
        TilewrightError: as `with_last_layer`.
    """
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

    Raises:
        TilewrightError: as for `load`, `Classifier` and `with_last_layer`.
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
        self.session = load(opened, engine=chosen, workers=os.cpu_count() or 1, queue=BUFFERS * self.batch)

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
