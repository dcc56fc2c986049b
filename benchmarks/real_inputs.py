"""Real inputs for the models of the data folder: what each network was trained on, prepared as it expects.

The folder is the one that ``TILEWRIGHT_DATA`` names. Every source yields the same samples in the same order each time;
where the data has labels they come along, as the index of the right output.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.pictures.preprocessing import Preprocessing


@dataclass(frozen=True)
class Sample:
    """Inputs by name, and the index of the output that is right, ``None`` where nobody knows."""

    inputs: dict[str, np.ndarray]
    label: int | None = None


Source = Callable[[Path, Sequence[TensorSpec]], Iterator[Sample]]
"""Yields samples from a data folder for a network with these inputs."""


# Images


@dataclass(frozen=True)
class ImageNet:
    """``images/imagenet500``: photographs of every other class.

    Attributes:
        offset: index of class 0 among the outputs; 1 for networks that have one for the background.
    """

    preprocessing: Preprocessing
    offset: int = 0

    def __call__(self, data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
        (spec,) = inputs
        lines = (data / "images" / "imagenet500_labels.txt").read_text(encoding="utf-8").splitlines()
        for line in lines:
            name, label = line.rsplit(maxsplit=1)
            image = self.preprocessing.load(data / "images" / "imagenet500" / name, spec.shape, spec.numpy)
            yield Sample({spec.name: image}, int(label) + self.offset)


@dataclass(frozen=True)
class Cifar10:
    """The test images of CIFAR-10, one of each class in turn."""

    preprocessing: Preprocessing

    def __call__(self, data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
        (spec,) = inputs
        with zipfile.ZipFile(data / "images" / "cifar10" / "cifar10_test_jpg.zip") as archive:
            names = [name for name in archive.namelist() if name.endswith(".jpg")]
            classes = sorted({name.split("/")[1] for name in names})
            for name in sorted(names, key=lambda name: (name.split("/")[2], name)):
                with Image.open(io.BytesIO(archive.read(name))) as image:
                    array = self.preprocessing.apply(image, spec.shape, spec.numpy)
                yield Sample({spec.name: array}, classes.index(name.split("/")[1]))


@dataclass(frozen=True)
class Faces:
    """``images/faces``: photographs of groups, without labels; then all of ``images/imagenet500``, mostly faceless."""

    preprocessing: Preprocessing

    def __call__(self, data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
        (spec,) = inputs
        for file in sorted((data / "images" / "faces").glob("*.jpg")):
            yield Sample({spec.name: self.preprocessing.load(file, spec.shape, spec.numpy)})
        for photograph in ImageNet(self.preprocessing)(data, inputs):
            yield Sample(photograph.inputs)


def mnist(data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
    """The test images of MNIST, pixels 0 to 255."""
    (spec,) = inputs
    folder = data / "images" / "mnist"
    # The header is four numbers of 4 bytes for images, two for labels.
    pixels = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    for image, label in zip(pixels.reshape(-1, *spec.shape), labels, strict=True):
        yield Sample({spec.name: image.astype(np.float32)}, int(label))


# Sound


def keywords(data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
    """Spectrograms of spoken words, from the integers of the benchmark's own quantisation."""
    (spec,) = inputs
    with zipfile.ZipFile(data / "audio" / "kws01_mfcc_int8.zip") as archive:
        (index,) = (name for name in archive.namelist() if name.endswith("y_labels.csv"))
        for name, _, label in csv.reader(io.StringIO(archive.read(index).decode())):
            stored = np.frombuffer(archive.read(index.replace("y_labels.csv", name)), np.int8)
            real = (stored.astype(np.float32) - 83) * np.float32(0.5847029)
            yield Sample({spec.name: real.reshape(spec.shape)}, int(label))


def noise(data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
    """Normal random numbers, for networks whose data is not there."""
    rng = np.random.default_rng(0)
    while True:
        yield Sample({spec.name: rng.standard_normal(spec.shape).astype(spec.numpy) for spec in inputs})


# Bytes and text

PADDING = 256
"""The token that the file type network takes for no byte."""


def file_bytes(data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
    """First and last 1024 bytes of files of this project, white space at the ends stripped, padded inwards."""
    (spec,) = inputs
    half = spec.shape[-1] // 2
    root = Path(__file__).parents[1]
    for name in (
        "README.md",
        "pyproject.toml",
        "compiler/demo/digits.onnx",
        "runtime/session.py",
        ".ci/run",
        "LICENSE",
    ):
        content = (root / name).read_bytes()
        first = np.frombuffer(content[:4096].lstrip()[:half], np.uint8)
        last = np.frombuffer(content[-4096:].rstrip()[-half:], np.uint8)
        tokens = np.full(2 * half, PADDING, np.int32)
        tokens[: len(first)] = first
        tokens[2 * half - len(last) :] = last
        yield Sample({spec.name: tokens.reshape(spec.shape)})


SENTENCES = (
    "A compiler turns a description of a network into instructions for a machine.",
    "The weather in the mountains changes quickly, so take a warm jacket.",
    "She plays the violin in the city orchestra.",
    "Quantisation replaces floating-point numbers by small integers.",
)


def sentences(data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
    """Word pieces of English sentences, with the vocabulary ``models/minilm_vocab.txt``."""
    lines = (data / "models" / "minilm_vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = {word: index for index, word in enumerate(lines)}
    ids, mask = inputs
    for sentence in SENTENCES:
        tokens = [vocabulary[piece] for piece in ("[CLS]", *_pieces(sentence, vocabulary), "[SEP]")]
        padded = np.zeros(ids.shape, np.int64)
        padded[0, : len(tokens)] = tokens
        yield Sample(
            {ids.name: padded, mask.name: (np.arange(ids.shape[1]) < len(tokens)).astype(np.int64)[np.newaxis]}
        )


def _pieces(sentence: str, vocabulary: dict[str, int]) -> Iterable[str]:
    """The longest known beginning of each word, then of what remains of it."""
    for word in re.findall(r"\w+|[^\w\s]", sentence.lower()):
        rest, prefix = word, ""
        while rest:
            sizes = (size for size in range(len(rest), 0, -1) if prefix + rest[:size] in vocabulary)
            size = next(sizes, 0)
            if not size:
                yield "[UNK]"
                break
            yield prefix + rest[:size]
            rest, prefix = rest[size:], "##"


# Which network takes what

_UNIT = (1 / 127.5,)
_MOBILENET = ImageNet(Preprocessing(mean=(127.5,), scale=_UNIT), offset=1)
_CIFAR = Cifar10(Preprocessing(resize="stretch", mean=(0.0,), scale=(1.0,)))

SOURCES: dict[str, Source] = {
    "ad01": noise,
    "kws": keywords,
    "magika": file_bytes,
    "mcunet": ImageNet(Preprocessing(resize="central", mean=(127.5,), scale=_UNIT)),
    "minilm": sentences,
    "mnist": mnist,
    "mobilenet_v1": _MOBILENET,
    "mobilenet_v2": _MOBILENET,
    "resnet20": Cifar10(
        Preprocessing(
            resize="stretch",
            mean=(123.675, 116.28, 103.53),
            scale=(1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
        )
    ),
    "resnet8": _CIFAR,
    "tf2_mobilenet_v2": _MOBILENET,
    "ultraface": Faces(Preprocessing(resize="stretch", mean=(127.0,), scale=(1 / 128,))),
    "vww": Faces(Preprocessing(resize="stretch", mean=(0.0,), scale=(1 / 255,))),
    "yunet": Faces(Preprocessing(resize="stretch", colour="bgr", mean=(0.0,), scale=(1.0,))),
}
"""Sources by the beginning of the model's file name."""


def samples(model: str, data: Path, inputs: Sequence[TensorSpec]) -> Iterator[Sample]:
    """Samples for the model of this file name.

    Raises:
        KeyError: nothing is known about the model.
    """
    prefix = max((key for key in SOURCES if model.startswith(key)), key=len, default=None)
    if prefix is None:
        raise KeyError(f"no inputs are known for {model!r}")
    return SOURCES[prefix](data, inputs)
