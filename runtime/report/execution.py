"""Inputs from files and outputs for people: the two ends of ``tilewright run``."""

import math
import os
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypedDict

import numpy as np

from tilewright import limits
from tilewright.errors import InputError, OutputError, UsageError
from tilewright.immutable import Immutable

from ..artifact.manifest import TensorSpec
from ..execution.buffers import check_names, check_type
from ..files.array_file import StoredArray, open_arrays
from ..files.input_file import contents, too_large
from ..files.output_file import output_file
from ..pictures.declaration import SUFFIXES
from ..pictures.inputs import Declaration, ImageInput, chosen
from ..session import Profile
from .table import Column, Table, on_lines, show_kernel, show_number

_ARCHIVE_NAME = 60_000
"""Bytes of a name that are sure to fit a zip file, where two bytes say how long it is."""
SHOWN_ELEMENTS = 8
"""How many of the largest elements of a classifier-like output are printed."""


class Images(Immutable):
    """How images become inputs: as the artifact says, or else as the user does; see `chosen`."""

    stored: Mapping[str, ImageInput] = field(default_factory=dict)
    given: Declaration | None = None
    force: bool = False

    def load(self, path: str, spec: TensorSpec) -> np.ndarray:
        """The image in a file as an input of batch 1.

        Raises:
            UsageError: nothing says how, or the user says otherwise than the artifact.
            InputError: it cannot be read, or does not fit the input.
        """
        found = chosen(spec.name, self.stored, self.given, force=self.force, flag="--preprocess")
        if found is None:
            raise UsageError(
                f"the artifact does not say how images become input {spec.name!r}",
                hint="Give --preprocess here, or when you compile the model.",
            )
        found.check(spec.shape, spec.numpy)
        return found.load(path, spec.shape, spec.numpy)


def gather_inputs(
    expected: Sequence[TensorSpec],
    texts: Sequence[str],
    seed: int | None,
    check_shapes: Callable[[Mapping[str, tuple[int, ...]]], None] | None = None,
    images: Images | None = None,
) -> dict[str, np.ndarray]:
    """The arrays that the command line names, or random ones in the first shape.

    Args:
        check_shapes: of a network of several shapes, what raises `InputError` for inputs of none.
        texts: ``FILE.npy`` (only for a network of one input), ``NAME=FILE.npy`` or ``FILE.npz``; in place of ``.npy``
            images, of which several of one input make its batch; ``.csv``, a line for each of the batch; or ``.wav``.
        images: how images become inputs.
        seed: make random inputs from it; then ``texts`` must be empty.

    Raises:
        UsageError: nothing is given, or both files and a seed.
        InputError: a file cannot be read, or holds what the network does not take.
    """
    if seed is not None:
        if texts:
            raise UsageError("--random cannot be combined with input files")
        return random_inputs(expected, np.random.default_rng(seed))
    names = ", ".join(tensor.name for tensor in expected)
    if expected and not texts:
        raise UsageError("no input is given", hint=f"Give a file for {names}, or --random SEED.")
    stored: dict[str, StoredArray | np.ndarray] = {}
    pictures: dict[str, list[np.ndarray]] = {}
    for text in texts:
        name, equals, path = text.partition("=") if not os.path.exists(text) else ("", "", text)
        path = path if equals or not name else name
        if os.path.splitext(path)[1].lower() in SUFFIXES:
            spec = _spec_of(expected, name if equals else None, names, text)
            pictures.setdefault(spec.name, []).append((images or Images()).load(path, spec))
            continue
        if path.lower().endswith(".csv"):
            # Here and not above: few runs are of tables.
            from ..files.table_file import read_table

            specs = [_spec_of(expected, name, names, text)] if equals else expected
            arrays = read_table(path, {each.name: (each.shape[1:], each.numpy) for each in specs})
            stored.update(arrays)
            lines, batch = len(arrays[specs[0].name]), specs[0].shape[:1]
            if check_shapes is None and batch and lines != batch[0]:
                expected_lines = show_number(batch[0], "line")
                hint = "`tilewright batch infer` runs all samples of a file."
                raise InputError(f"{path!r} is not one batch", expected=expected_lines, found=lines, hint=hint)
            continue
        if path.lower().endswith(".wav"):
            from ..files.sound_file import open_sound

            spec = _spec_of(expected, name if equals else None, names, text)
            array, batch = open_sound(path, spec.name, spec.shape, spec.numpy).read(), spec.shape[:-1][:1] or (1,)
            if check_shapes is None and len(array) != batch[0]:
                wanted = f"{show_number(batch[0], 'piece')} of {array[0].size} numbers"
                hint = "`tilewright batch infer` runs all pieces of a file."
                raise InputError(f"{path!r} is not one batch", expected=wanted, found=len(array), hint=hint)
            stored[spec.name] = array if len(spec.shape) > 1 else array[0]
            continue
        found = open_arrays(path, [each.name for each in expected])
        if isinstance(found, dict):
            stored.update(found)
        elif equals:
            stored[name] = found
        else:
            stored[_spec_of(expected, None, names, text).name] = found
    stored |= {name: np.concatenate(batch) for name, batch in pictures.items()}
    # What does not fit is not read: a short file can say that it holds more than this machine has room for.
    check_names(stored, expected)
    found = {spec.name: stored[spec.name].shape for spec in expected}
    if check_shapes is not None:
        check_shapes(found)
        expected = [replace(spec, shape=found[spec.name]) for spec in expected]
    for spec in expected:
        check_type(stored[spec.name].dtype, stored[spec.name].shape, spec)
    return {name: array if isinstance(array, np.ndarray) else array.read() for name, array in stored.items()}


def _spec_of(expected: Sequence[TensorSpec], name: str | None, names: str, text: str) -> TensorSpec:
    """The input that a file is for."""
    if name is None and len(expected) != 1:
        raise UsageError("the network has several inputs", expected=f"NAME=FILE for {names}", found=text)
    found = next((each for each in expected if name in (None, each.name)), None)
    if found is None:
        raise UsageError("the network has no such input", expected=names, found=name)
    return found


def random_inputs(expected: Iterable[TensorSpec], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Standard normal floats, small non-negative integers, coin-flip booleans."""
    arrays: dict[str, np.ndarray] = {}
    for tensor in expected:
        shape, dtype = tensor.shape, tensor.numpy
        if dtype.kind == "f":
            array = rng.standard_normal(shape)
        else:
            array = rng.integers(least(shape, dtype), 2 if dtype.kind in "ib" else 256, shape)
        arrays[tensor.name] = array.astype(dtype)
    return arrays


def least(shape: Sequence[int], dtype: np.dtype) -> int:
    """The smallest random integer of an input. Wide ones are indices or masks as a rule: 0 and 1 are valid for either.
    One alone for each item may be a length: of 0, there is nothing to compute."""
    return int(dtype.itemsize > 1 and math.prod(shape[1:]) == 1)


def save_outputs(path: Path, results: Mapping[str, np.ndarray]) -> None:
    """Write the outputs as ``.npz``."""
    with output_file(path) as file:
        write_outputs(file, results)


def write_outputs(file: BinaryIO, results: Mapping[str, np.ndarray]) -> None:
    """Write the outputs as ``.npz`` into an open file, with bytes that they alone decide.

    Raises:
        OutputError: an output has a name that no such file can hold.
        OSError: they cannot be written.
    """
    for name in results:
        if "\0" in name or len(name.encode()) > _ARCHIVE_NAME:
            expected = f"at most {_ARCHIVE_NAME} bytes without a zero"
            raise OutputError(
                "an output has a name that no .npz file can hold", expected=expected, found=repr(name[:80])
            )
    # Not by numpy.savez, which knows no array of the name "file".
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in results.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


@np.errstate(over="ignore", invalid="ignore")
def results_text(results: Mapping[str, np.ndarray]) -> str:
    """Each output with its type, range and, for vectors, its largest elements."""
    lines: list[str] = []
    for name, array in results.items():
        lines.append(f"{name}: {array.dtype}[{','.join(map(str, array.shape))}]")
        if array.size == 0:
            continue
        low, high, mean = (float(each) for each in (array.min(), array.max(), array.mean()))
        lines.append(f"  min {low:.6g}, max {high:.6g}, mean {mean:.6g}")
        if array.size == max(array.shape, default=1):
            flat = array.reshape(-1)
            # Integers and booleans are not negated, which may overflow, but complemented.
            best = np.argsort(-flat if flat.dtype.kind == "f" else ~flat, kind="stable")[:SHOWN_ELEMENTS]
            lines.append("  largest: " + ", ".join(f"[{i}] {float(flat[i]):.6g}" for i in best))
    return "".join(on_lines(line, 4) for line in lines)


class OutputArray(TypedDict):
    """An output: NumPy's name of its type, its shape, and all elements in order."""

    dtype: str
    shape: list[int]
    data: list[float | str]


def output_arrays(results: Mapping[str, np.ndarray]) -> dict[str, OutputArray]:
    """All elements of all outputs."""
    return {
        name: {"dtype": str(array.dtype), "shape": list(array.shape), "data": array.reshape(-1).tolist()}
        for name, array in results.items()
    }


def profile_table(profile: Profile) -> Table:
    """Measured time of each step on this machine."""
    total = sum(step.milliseconds for step in profile.steps) or 1.0
    columns = [
        Column("name", "step"),
        Column("op", "operator"),
        Column("kernel", "kernel", show=show_kernel),
        Column("milliseconds", "time (ms)", show=lambda ms: f"{ms:.3f}", right=True),
        Column("share", "share", show=lambda share: f"{share:.1%}", right=True),
        Column("gmacs", "GMAC/s", show=lambda rate: f"{rate:.1f}", right=True),
    ]
    table = Table(columns)
    for step in profile.steps:
        table.add(
            name=step.name,
            op=step.op,
            kernel=step.kernel,
            milliseconds=step.milliseconds,
            share=step.milliseconds / total,
            gmacs=step.macs / step.milliseconds / 1e6 if step.macs and step.milliseconds else None,
        )
    return table


SHOWN_ROWS = 100
"""How many rows of an output are printed with their classes."""


class BestClass(NamedTuple):
    """A class, its name if it has one, and what the network gives it: a number, or a share of the pixels of a map."""

    number: int
    name: str | None
    value: float


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of classes, one a line.

    Raises:
        InputError: the file cannot be read, or is no text.
        ResourceError: it is too large.
    """
    content = contents(os.fspath(path), limits.LABELS_FILE)
    if content.count(b"\n") > limits.LABELS:
        raise too_large(repr(os.fspath(path)), limits.LABELS, content.count(b"\n"))
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{os.fspath(path)!r} holds no names of classes: it is not text") from None


def best_classes(
    results: Mapping[str, np.ndarray],
    top: int,
    names: Sequence[str] | None = None,
    truths: Collection[str] = (),
    shares: Collection[str] = (),
    image: tuple[int, int] = (1, 1),
) -> dict[str, list[list[BestClass]]]:
    """The best classes of each item of a batch, best first, or of each of its tokens or boxes, of the outputs that
    classify: numbers, [N, classes] or [N, rows, classes], or one for each that says how surely it is the second of two;
    of a map, [N, classes, height, width] or of integers, the classes of most pixels. Where a softmax makes some, of
    these alone, else without names of those of one row an item, or of the most numbers a row.

    Args:
        names: of all classes, or of all but a first one for the background.
        truths, shares: names of the outputs of which one number says so, and of those that a softmax makes.
        image: see `rows_of`.

    Raises:
        UsageError: no output classifies, or none has so many classes.
    """
    results = {name: with_no(array) if name in truths else array for name, array in results.items()}
    found = {name: class_rows(array, image, len(names or ())) for name, array in results.items()}
    rows = {name: array for name, array in found.items() if array is not None}
    fitting = rows if names is None else {n: a for n, a in rows.items() if a.shape[1] - len(names) in (0, 1)}
    if not fitting:
        shapes = ", ".join(f"{name}[{','.join(map(str, array.shape))}]" for name, array in results.items())
        wanted = "CLASSES" if names is None else f"{len(names)} or {len(names) + 1}"
        hint = "Leave --top and --labels out: other outputs are told in numbers."
        raise UsageError("no output is of such classes", expected=f"[N, {wanted}]", found=shapes, hint=hint)
    # Boxes and points beside probabilities are no classes.
    chosen = {name: array for name, array in fitting.items() if name in shares}
    if not chosen and names is None:
        most = max(array.shape[1] for array in fitting.values())
        single = {name: array for name, array in fitting.items() if len(array) == len(results[name])}
        chosen = single or {name: array for name, array in fitting.items() if array.shape[1] == most}
    return {name: [_best(row, top, names) for row in array] for name, array in (chosen or fitting).items()}


def class_rows(array: np.ndarray, image: tuple[int, int], known: int = 0) -> np.ndarray | None:
    """What classes get, [rows, classes]: in each item or each of its rows, or of a map their shares of its pixels; none
    of what has no classes.

    Args:
        known: how many classes have names.
    """
    is_map = array.ndim > 2 and sum(each != 1 for each in array.shape[1:]) > 1
    if array.ndim < 2 or not array.size or (is_map and array.ndim > 4):
        return None
    if is_map and array.dtype.kind in "iu" and (array.ndim == 3 or 1 in (array.shape[1], array.shape[3])):
        # As of an ArgMax at the end.
        answers, classes = array.reshape(len(array), -1), max(int(array.max()) + 1, known)
        if array.min() < 0 or classes > limits.LABELS:
            return None
    else:
        before, classes, behind = rows_of(array.shape, image)
        numbers = array.reshape(before, classes, behind)
        if classes < 2 or not is_map or array.ndim == 3:
            return numbers[:, :, 0] if classes > 1 else None
        answers = numbers.argmax(1).reshape(len(array), -1)
    return np.stack([np.bincount(each.astype(np.int64), minlength=classes) / each.size for each in answers])


def rows_of(shape: Sequence[int], image: tuple[int, int] = (1, 1)) -> tuple[int, int, int]:
    """An output as rows of numbers, of which the largest is the answer: [rows, numbers, rows].

    Of three dimensions the last is that of a row: detectors have one for each box, language models for each word. Of
    four, as segmentation has them, it is the second or the last, a row for each pixel: the other two are to be like
    height and width of the image that the network takes. Of more it is all.
    """
    rows = math.prod(shape[: 2 if len(shape) == 3 and shape[2] > 1 else 1]) if len(shape) > 1 else 1
    if len(shape) == 4 and sum(each != 1 for each in shape[1:]) > 1:
        height, width = image

        def unlike(rows: int, columns: int) -> float:
            """How far the proportions of a map are from those of the image; rounded, as ties are decided otherwise."""
            return round(abs(math.log(max(1, columns) * height / (max(1, rows) * width))), 6)

        is_last = (unlike(*shape[1:3]), shape[3]) < (unlike(*shape[2:]), shape[1])
        return (math.prod(shape[:3]), shape[3], 1) if is_last else (rows, shape[1], shape[2] * shape[3])
    return rows, math.prod(shape) // max(1, rows), 1


def image_size(inputs: Iterable[Sequence[int]]) -> tuple[int, int]:
    """Height and width of the first image among inputs of these shapes, at least 1; of a square where there is none."""
    for _, first, second, last in (each for each in inputs if len(each) == 4):
        if min(first, last) <= 4:
            height, width = (second, last) if first <= 4 else (first, second)
            return max(1, height), max(1, width)
    return 1, 1


def with_no(array: np.ndarray) -> np.ndarray:
    """How surely each item is what a sigmoid tells, one number for each, as two classes, no and yes: [N, 2]; an array
    of more is left as it is, as one of several numbers and no batch."""
    is_one = array.size == array.shape[0] if array.ndim > 1 else array.size == array.ndim == 1
    return np.stack([1 - array.ravel(), array.ravel()], 1) if is_one else array


def _best(values: np.ndarray, top: int, names: Sequence[str] | None) -> list[BestClass]:
    order = np.argsort(-values if values.dtype.kind == "f" else ~values, kind="stable")[:top]
    background = 0 if names is None else len(values) - len(names)
    known = ["background"] * background + list(names or ())
    return [BestClass(int(index), known[index] if known else None, float(values[index])) for index in order]


def classes_text(found: Mapping[str, list[list[BestClass]]], results: Mapping[str, np.ndarray]) -> str:
    """As lines for people, of the outputs of a run; of many rows the first ones."""
    lines: list[str] = []
    for output, rows in found.items():
        items = len(results[output])
        for number, row in enumerate(rows[:SHOWN_ROWS]):
            item, at = divmod(number, max(1, len(rows) // items))
            where = [output, *([f"item {item}"] if items > 1 else []), *([f"row {at}"] if len(rows) > items else [])]
            best = [f"  {each.value:10.6g}  [{each.number}]{f' {each.name}' if each.name else ''}" for each in row]
            head = f"{', '.join(where)}:"
            lines += [head, *best] if len(rows) == items else [" ".join((head, *(f" {e.strip()}" for e in best)))]
        if len(rows) > SHOWN_ROWS:
            lines.append(f"{output}: {len(rows) - SHOWN_ROWS} more rows, which --json prints")
    return "".join(on_lines(line, 4) for line in lines)
