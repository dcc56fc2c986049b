"""Inputs from files and outputs for people: the two ends of ``tilewright run``."""

import math
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import BinaryIO, TypedDict

import numpy as np

from tilewright.errors import CalibrationWarning, InputError, OutputError, UsageError, warn
from tilewright.immutable import Immutable

from ..artifact.manifest import TensorSpec
from ..execution.buffers import check_names, check_type, is_narrower
from ..files.array_file import StoredArray, open_arrays
from ..files.output_file import output_file
from ..pictures.declaration import SUFFIXES
from ..pictures.inputs import Declaration, ImageInput, chosen
from ..profile import Profile
from .table import Column, Table, on_lines, show_kernel, show_number

_ARCHIVE_NAME = 60_000
"""Bytes of a name that are sure to fit a zip file, where two bytes say how long it is."""
SHOWN_ELEMENTS = 8
"""How many of the largest elements of a classifier-like output are printed."""


class Images(Immutable):
    """How images become inputs in a network's shapes: as the artifact says, or else as the user does; see `chosen`."""

    shapes: Sequence[Mapping[str, tuple[int, ...]]] = ()
    stored: Mapping[str, ImageInput] = field(default_factory=dict)
    given: Declaration | None = None
    force: bool = False

    def load(self, path: str, spec: TensorSpec, others: Sequence[np.ndarray] = ()) -> np.ndarray:
        """The image in a file as an input of batch 1, in the shape of others of the batch, or the one most like it.
        Raises UsageError: nothing says how, or the user says otherwise than the artifact; InputError: it cannot be
        read, or does not fit the input."""
        found = chosen(spec.name, self.stored, self.given, force=self.force, flag="--preprocess")
        if found is None:
            raise UsageError(
                f"the artifact does not say how images become input {spec.name!r}",
                hint="Give --preprocess here, or when you compile the model.",
            )
        shapes = [each.shape for each in others] or [shape[spec.name] for shape in self.shapes] or [spec.shape]
        fitting = [shape for shape in shapes if found.fits(shape)] or shapes[:1]
        shape = found.nearest(path, fitting) if len({*fitting}) > 1 else fitting[0]
        found.check(shape, spec.numpy)
        return found.load(path, shape, spec.numpy)


def gather_inputs(
    expected: Sequence[TensorSpec],
    texts: Sequence[str],
    seed: int | None,
    check_shapes: Callable[[Mapping[str, tuple[int, ...]]], None] | None = None,
    images: Images | None = None,
    rates: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """The arrays that the command line names, or random ones in the first shape.

    Args:
        check_shapes: of a network of several shapes, what raises `InputError` for inputs of none.
        texts: ``FILE.npy`` (only for a network of one input), ``NAME=FILE.npy`` or ``FILE.npz``; in place of ``.npy``
            images, of which several of one input make its batch; ``.csv``, a line for each of the batch; or ``.wav``.
        images: how images become inputs.
        rates: numbers a second that sounds for inputs are known to have; others are warned of.
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

    def store(arrays: Mapping[str, StoredArray | np.ndarray]) -> None:
        if twice := stored.keys() & arrays.keys():
            found = ", ".join(sorted(twice))
            raise UsageError("an input is given twice", found=found, hint="Only several images make a batch.")
        stored.update(arrays)

    for text in texts:
        name, equals, path = text.partition("=") if not os.path.exists(text) else ("", "", text)
        path = path if equals or not name else name
        if os.path.isdir(path):
            hint = "Give a file. `tilewright classify` and `tilewright batch infer` take folders."
            raise InputError(f"{path!r} is a folder", expected=f"one file for {names}", hint=hint)
        if os.path.splitext(path)[1].lower() in SUFFIXES:
            spec = _spec_of(expected, name if equals else None, names, text)
            others = pictures.setdefault(spec.name, [])
            others.append((images or Images()).load(path, spec, others))
            continue
        if (suffix := os.path.splitext(path)[1].lower()) in (".csv", ".wav"):
            one = equals or suffix == ".wav"
            specs = [_spec_of(expected, name if equals else None, names, text)] if one else expected
            # Here and not above: few runs are of tables and sounds.
            if suffix == ".csv":
                from ..files.table_file import read_table

                store(read_table(path, {each.name: (each.shape[1:], each.numpy) for each in specs}))
                unit, size, rate = "line", "", ""
            else:
                from ..files.sound_file import open_sound

                (spec,) = specs
                sound = open_sound(path, spec.name, spec.shape, spec.numpy)
                check_rate(path, sound.rate, spec.name, rates or {})
                store({spec.name: sound.read().reshape(-1, *spec.shape[1:])})
                unit, size, rate = "piece", f" of {math.prod(spec.shape[1:])} numbers", f" at {sound.rate} a second"
            samples, batch = stored[specs[0].name].shape[0], specs[0].shape[:1]
            if check_shapes is None and batch and samples != batch[0]:
                wanted, found = f"{show_number(batch[0], unit)}{size}", f"{samples}{rate}"
                hint = "`tilewright batch infer` runs all samples of a file."
                raise InputError(f"{path!r} is not one batch", expected=wanted, found=found, hint=hint)
            continue
        found = open_arrays(path, [each.name for each in expected])
        if not isinstance(found, dict):
            found = {name if equals else _spec_of(expected, None, names, text).name: found}
        store(found)
    store({name: np.concatenate(batch) for name, batch in pictures.items()})
    # What does not fit is not read: a short file can say that it holds more than this machine has room for.
    check_names(stored, expected)
    found = {spec.name: stored[spec.name].shape for spec in expected}
    if check_shapes is not None:
        check_shapes(found)
        expected = [replace(spec, shape=found[spec.name]) for spec in expected]
    arrays: dict[str, np.ndarray] = {}
    for spec in expected:
        array = stored[spec.name]
        dtype = spec.numpy if is_narrower(array.dtype, spec.numpy) else array.dtype
        check_type(dtype, array.shape, spec)
        arrays[spec.name] = (array if isinstance(array, np.ndarray) else array.read()).astype(dtype, copy=False)
    return arrays


def check_rate(path: str, rate: int, name: str, known: Mapping[str, int]) -> None:
    """Warn of a sound for an input whose samples of calibration had another rate."""
    if rate and known.get(name, rate) not in (rate, 0):
        what = f"the sound {path!r} has {rate} numbers a second, those of calibration {known[name]}"
        warn(f"{what}: convert it, as by `ffmpeg -i FILE -ar {known[name]} NEW.wav`", CalibrationWarning)


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
    Raises OutputError: an output has a name that no such file can hold; OSError: they cannot be written."""
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
        # Sums of the largest numbers of their type are none of it.
        low, high, mean = (float(each) for each in (array.min(), array.max(), array.mean(dtype=np.longdouble)))
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
