"""The operator tests that come with the onnx package: its models, its inputs, its outputs.

Every test whose operators and element types are supported runs through importer and reference interpreter.
"""

from __future__ import annotations

import fnmatch
import warnings
from functools import cache
from unittest import mock

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from grouped_tests import naming
from onnx.backend.test.case import base
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

from tilewright.compiler.frontend.onnx.families import IMPORTS
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import IRError, ModelError
from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.ir.types import DType
from tilewright.ir.verify import verify

LEFT_OUT = {
    "test_bernoulli*": "draws other random numbers",
    "*_blocked*": "scales of blocks are not supported",
    "test_dft_inverse*": "asks for the rounding errors of another algorithm where ours gives zeros",
    "test_resize_downsample_scales_*_align_corners": "aligns to an extent before rounding, unlike onnxruntime",
}
"""Patterns of test names, and why these tests do not apply."""


@cache
def supported() -> list[TestCase]:
    """Not while tests are collected: onnx computes all outputs for it, which takes longer than all other files."""
    # Nor does anything read the text of each test, which onnx tokenises.
    with warnings.catch_warnings(), mock.patch.object(base, "process_snippet", lambda _, name, export: (name, "")):
        warnings.simplefilter("ignore")
        return [case for case in collect_testcases(None) if is_supported(case)]


def reason(name: str) -> str | None:
    return next((why for pattern, why in LEFT_OUT.items() if fnmatch.fnmatch(name, pattern)), None)


def is_supported(case: TestCase) -> bool:
    """Whether all operators have importers and all tensors have known shapes and element types that exist here."""
    if case.model is None or not case.data_sets:
        return False
    if any(("" if n.domain == "ai.onnx" else n.domain, n.op_type) not in IMPORTS for n in case.model.graph.node):
        return False
    return all(is_plain_tensor(array) for data in case.data_sets for part in data for array in part)


def is_plain_tensor(array: object) -> bool:
    if not isinstance(array, (np.ndarray, np.generic)):
        return False
    try:
        DType.of(array.dtype)
    except IRError:
        return False
    return True


def applying() -> list[TestCase]:
    return [case for case in supported() if reason(case.name) is None]


def import_case(model: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> tuple[Module, list[str]]:
    """The module, and the names of the inputs that had to be known: none if possible, all but the first, or all.

    Shapes, axes and sizes are inputs in this suite, but must be known here; and an input without elements counts as
    one of open shape.
    """
    problem: ModelError | None = None
    names = list(arrays)
    for known in ([], names[1:], names):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.initializer.extend(onnx.numpy_helper.from_array(arrays[name], name) for name in known)
        try:
            return import_onnx(copy), known
        except ModelError as error:
            problem = error
    assert problem is not None
    raise problem


def test_reference_gives_the_stored_outputs() -> None:
    for case in applying():
        with naming(case):
            check(case)


def check(case: TestCase) -> None:
    assert case.model is not None and case.data_sets is not None
    for inputs, outputs in case.data_sets:
        names = [value.name for value in case.model.graph.input]
        arrays = {name: np.asarray(array) for name, array in zip(names, inputs, strict=False)}
        module, known = import_case(case.model, arrays)
        verify(module)
        found = interp.run(module, {name: array for name, array in arrays.items() if name not in known})
        for array, expected in zip(found.values(), map(np.asarray, outputs), strict=True):
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
            np.testing.assert_allclose(array, expected, rtol=case.rtol, atol=case.atol)


def test_most_of_the_suite_is_run() -> None:
    assert len(applying()) > 1000


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_what_is_left_out_exists(pattern: str) -> None:
    assert fnmatch.filter([case.name for case in supported()], pattern)
