"""Preprocessing for each input of a network: as declared, as an artifact has it, and which of both counts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Annotated, Any, Union, cast

import numpy as np

from tilewright.errors import ArtifactError, InputError, ModelError, UsageError
from tilewright.immutable import Immutable

from ..artifact.json_dataclasses import AtMost, Source, parse, read, write
from .declaration import DEFAULT, fields_of, origin_of
from .preprocessing import NAMES, Preprocessing, PreprocessingSource

Declaration = Union[PreprocessingSource, Mapping[str, PreprocessingSource]]
"""For all inputs that images fit, or by the names of inputs."""


class Declared(Immutable):
    """Preprocessing of an input. ``origin``: ``default``, ``given``, or ``preset`` and its name."""

    preprocessing: Preprocessing
    origin: str = DEFAULT


def declared(source: Declaration | None, names: Collection[str] | None = None) -> dict[str, Declared] | Declared:
    """What is declared, for all inputs or by name.
    ``source``: as `Preprocessing.of` takes it; or a mapping from input names to such, as text with semicolons between
    the inputs: ``left:imagenet;right:mean=0,scale=1/255``.
    ``names``: of the inputs, if they are known.
    Raises UsageError: names the key, or the input that there is none of."""
    named = _by_name(source)
    if named is None:
        given = cast("PreprocessingSource | None", source)
        told = origin_of(given) if isinstance(given, (str, Mapping)) else DEFAULT
        origin = "given" if isinstance(given, Preprocessing) else told
        return Declared(Preprocessing.of(given or {}), origin)
    for name in named:
        if names is not None and name not in names:
            raise UsageError(
                "preprocessing is for an input that there is none of", expected=", ".join(map(repr, names)), found=name
            )
    return {name: cast("Declared", declared(each)) for name, each in named.items()}


def _by_name(source: object) -> Mapping[str, PreprocessingSource] | None:
    if isinstance(source, str) and ":" in source and not source.lstrip().startswith("{"):
        parts = [part.rpartition(":") for part in source.split(";") if part.strip()]
        return {name.strip(): text for name, _, text in parts}
    found: Any = fields_of(source) if isinstance(source, str) and source.lstrip().startswith("{") else source
    if not isinstance(found, Mapping) or not found or not found.keys().isdisjoint(NAMES):
        return None
    return found if all(isinstance(each, (str, Mapping, Preprocessing)) for each in found.values()) else None


def for_input(source: Declaration | None, name: str) -> Declared:
    """What is declared for an input; the default where that is nothing."""
    found = declared(source)
    return found.get(name, Declared(Preprocessing())) if isinstance(found, dict) else found


class ImageInput(Immutable):
    """What an artifact has of an input that images become.
    ``origin``: where its preprocessing comes from: ``default``, ``given``, or ``preset`` and its name.
    ``calibrated``: whether the ranges of the network come from images that were prepared so.
    ``preprocessing``: the fields of `Preprocessing`."""

    origin: Annotated[str, AtMost(200)]
    calibrated: bool
    preprocessing: Mapping[str, object]

    def read(self, name: str) -> Preprocessing:
        """The preprocessing. Raises ArtifactError: it is damaged."""
        try:
            return Preprocessing.of(self.preprocessing)
        except UsageError as error:
            raise ArtifactError(
                f"what the artifact says of images for input {name!r} is damaged: {error.message}",
                stage="load artifact",
                expected=error.expected,
                found=error.found,
            ) from None


class ImageInputs(Immutable):
    """What a model that was quantised by images has of these, by the names of its inputs."""

    inputs: Mapping[str, ImageInput]

    def to_text(self) -> str:
        """The text that `of` reads."""
        return write(self).decode()

    @staticmethod
    @lru_cache(maxsize=4)
    def of(text: str) -> "ImageInputs":
        """What a text says, or nothing where it is empty. Raises ModelError: it is damaged."""
        advice = "Export it again, or take it out of the metadata: tilewright.images, in IR tilewright_images."
        source = Source("what the model says of images", ModelError, "import", advice)
        found = read(ImageInputs, parse(text, source), source) if text else ImageInputs({})
        for name, each in found.inputs.items():
            try:
                each.read(name)
            except ArtifactError as error:
                source.refuse(f"inputs.{name}", "is damaged", error.expected, error.found)
        return found


Inputs = Mapping[str, tuple[Sequence[int], np.dtype]]
"""Shapes and element types by name."""


def stored_inputs(source: Declaration | None, inputs: Inputs, calibrated: Collection[str]) -> dict[str, ImageInput]:
    """What an artifact is to have of its inputs: of those that ranges came from images for, and of those that
    preprocessing is declared for.
    ``calibrated``: names of the former.
    Raises UsageError: preprocessing is for an input that there is none of; InputError: images do not fit an input that
    preprocessing is declared for, or no input at all."""
    found = declared(source, inputs)
    if isinstance(found, dict):
        chosen = {name: found.get(name, Declared(Preprocessing())) for name in (*found, *calibrated)}
    else:
        names = list(calibrated)
        if source is not None:
            names = [name for name, type in inputs.items() if name in calibrated or fits(found.preprocessing, *type)]
            if not names and inputs:
                found.preprocessing.check(*next(iter(inputs.values())))
        chosen = dict.fromkeys(names, found)
    for name, each in chosen.items():
        each.preprocessing.check(*inputs[name])
    return {
        name: ImageInput(each.origin, name in calibrated, asdict(each.preprocessing)) for name, each in chosen.items()
    }


def fits(preprocessing: Preprocessing, shape: Sequence[int], dtype: np.dtype) -> bool:
    """Whether images that are prepared so can become an input of this shape and element type."""
    try:
        preprocessing.check(shape, dtype)
    except InputError:
        return False
    return True


def chosen(
    name: str, stored: Mapping[str, ImageInput], given: Declaration | None, *, force: bool = False, flag: str
) -> Preprocessing | None:
    """The preprocessing to use for an input: what the artifact has, which bits then follow, or what is given.

    Args:
        stored: what the artifact has, by input.
        given: what the user asks for.
        force: take what is given even if the artifact has another.
        flag: how `given` is given, for the message.

    Returns:
        None if neither says anything.

    Raises:
        UsageError: the artifact has another than the one that is given.
        ArtifactError: what the artifact has is damaged.
    """
    known = stored[name].read(name) if name in stored else None
    asked = for_input(given, name).preprocessing if given is not None else None
    if known is None or asked is None:
        return known or asked
    differences = known.differences(asked)
    if differences and not force:
        how = "was calibrated with" if stored[name].calibrated else "was compiled for"
        raise UsageError(
            f"the network {how} another preprocessing of input {name!r}",
            expected=known.text(differences),
            found=asked.text(differences),
            hint=f"Leave {flag} out, or give --force-preprocess to prepare images otherwise all the same.",
        )
    return asked if differences else known
