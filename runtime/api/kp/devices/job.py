"""What is sent to a device, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..preprocessing.pipeline import Crop, Picture, Prepared
from ..refusal import Refusal

if TYPE_CHECKING:
    from .models import LoadedModel


@dataclass(frozen=True, eq=False)
class Job:
    """An image, or data, for each input of a network.

    Attributes:
        kind: `IMAGE_JOB` or `DATA_JOB`.
        model: the network.
        inference_number: which the results carry.
        inputs: for each input an image, or uint8[bytes] that bypass preprocessing.
        crops: of each input; each gives a result. None is the whole.
    """

    kind: int
    model: LoadedModel
    inference_number: int
    inputs: tuple[Picture | np.ndarray, ...]
    crops: tuple[tuple[Crop | None, ...], ...] = ((None,),)


@dataclass(frozen=True, eq=False)
class Result:
    """What a device gives back for a crop box.

    Attributes:
        job: what it is the result of.
        crop_number: of the box.
        is_last: whether the job has no further one.
        raw: as `pack` makes it; empty where it failed.
        prepared: how the images became inputs.
        crops: of each input, the box.
        error: why it failed.
    """

    job: Job
    crop_number: int
    is_last: bool
    raw: bytes
    prepared: tuple[Prepared, ...] = ()
    crops: tuple[Crop | None, ...] = ()
    error: Refusal | None = None
