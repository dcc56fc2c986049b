"""Tests of thousands of small cases, run in groups: to collect and report a test takes longer than such a case does."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol, TypeVar

import pytest


class Named(Protocol):
    """Anything that a failure can name."""

    @property
    def name(self) -> str: ...


CaseT = TypeVar("CaseT", bound=Named)
Test = Callable[..., None]


def groups(cases: Iterable[CaseT], group_of: Callable[[CaseT], str]) -> dict[str, list[CaseT]]:
    """Cases by the name of their group, both in the order of the cases."""
    found: dict[str, list[CaseT]] = defaultdict(list)
    for case in cases:
        found[group_of(case)].append(case)
    return found


@contextmanager
def naming(case: Named) -> Iterator[None]:
    """What fails in here fails with the name of the case."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"the case {case.name}") from error


def grouped(cases: Iterable[CaseT], group_of: Callable[[CaseT], str]) -> Callable[[Test], Test]:
    """Make a test with a parameter ``case`` one of all cases of a group, for each group; see :func:`in_groups`."""
    found = groups(cases, group_of)
    return in_groups(found, found.__getitem__)


def in_groups(names: Iterable[str], cases_of: Callable[[str], Iterable[CaseT]]) -> Callable[[Test], Test]:
    """Make a test with a parameter ``case`` one of all cases of a group, for each of the groups ``names``.

    A failure names the case. A case that skips itself ends itself alone; where all of a group do so, the group is
    skipped.

    Args:
        cases_of: makes the cases of a group when its test runs.
    """

    def decorate(test: Test) -> Test:
        @pytest.mark.parametrize("group", names)
        @wraps(test)
        def run(group: str, **fixtures: Any) -> None:
            skipped: list[BaseException] = []
            cases = [*cases_of(group)]
            for case in cases:
                try:
                    with naming(case):
                        test(case=case, **fixtures)
                except pytest.skip.Exception as reason:
                    skipped.append(reason)
            if skipped and len(skipped) == len(cases):
                raise skipped[0]

        signature = inspect.signature(test)
        parameters = [
            each.replace(name="group") if each.name == "case" else each for each in signature.parameters.values()
        ]
        # What the test asks for besides its cases is asked for in their place.
        run.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
        return run

    return decorate
