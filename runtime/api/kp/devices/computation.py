"""What a device does with a job: preprocessing, the network, and the layout of the result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tilewright.errors import ResourceError

from ..preprocessing.bypass import input_of
from ..preprocessing.pipeline import Crop, Picture, Prepared, prepare
from ..refusal import Refusal
from ..results.layout import Stamp, pack
from ..return_codes import ApiReturnCode
from .job import Job, Result


def results_of(job: Job) -> Iterator[Result]:
    """The results of a job, a crop box after the other. What goes wrong is in the result."""
    for index, crops in enumerate(job.crops):
        is_last = index == len(job.crops) - 1
        number = 0 if crops[0] is None else crops[0].number
        try:
            raw, prepared = _infer(job, crops, Stamp(job.kind, job.inference_number, number, is_last))
        except Refusal as error:
            yield Result(job, number, is_last, b"", error=error)
        except (ResourceError, MemoryError) as error:
            failure = _failure(ApiReturnCode.KP_FW_DDR_MALLOC_FAILED_102, error)
            yield Result(job, number, is_last, b"", error=failure)
        except Exception as error:
            # Whatever it is: the device goes on.
            failure = _failure(ApiReturnCode.KP_FW_INFERENCE_ERROR_101, error)
            yield Result(job, number, is_last, b"", error=failure)
        else:
            yield Result(job, number, is_last, raw, prepared, crops)


def _failure(code: ApiReturnCode, error: Exception) -> Refusal:
    refusal = Refusal(code, str(error) or type(error).__name__)
    refusal.__cause__ = error
    return refusal


def _infer(job: Job, crops: tuple[Crop | None, ...], stamp: Stamp) -> tuple[bytes, tuple[Prepared, ...]]:
    model = job.model
    values: dict[str, np.ndarray] = {}
    account: list[Prepared] = []
    for data, crop, node in zip(job.inputs, crops, model.inputs, strict=True):
        if isinstance(data, Picture):
            account.append(prepare(data, crop, node.shape, model.product.abilities))
            values[node.name] = account[-1].values
        else:
            values[node.name] = input_of(data, node.shape)
    return pack(model.product.id, stamp, model.facts, model.run(values)), tuple(account)
