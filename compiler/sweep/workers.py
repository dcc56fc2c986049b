"""Machines evaluated by several processes, here or on a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from tilewright.errors import TilewrightError

from ...runtime.cluster.computing import LOCAL, answers
from ...runtime.cluster.processes import Failed
from ..options import CompileOptions
from ..progress import silent
from .evaluation import Model, Outcome, evaluate


def outcomes(
    model: Model, options: CompileOptions, machines: Sequence[str], jobs: int, on: str = LOCAL
) -> Generator[tuple[int, Outcome], None, None]:
    """What becomes of each machine, with its number, as soon as it is known; closing the iterator ends all work.

    Args:
        machines: texts of their files.
        jobs, on: as for `answers`.

    Raises:
        TilewrightError: as `evaluate` and `answers` say.
    """
    jobs = min(jobs, len(machines))
    if on != LOCAL or jobs > 1:
        options = replace(options, report=silent)
    with closing(answers(partial(evaluate, model, options), deque(enumerate(machines)), on, jobs)) as found:
        for number, answer in found:
            if isinstance(answer, Failed):
                if isinstance(answer.error, TilewrightError):
                    raise answer.error
                answer = Outcome(None, answer.text, is_final=False)
            yield number, answer
