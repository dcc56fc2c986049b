"""onnx's backend test suite: every case for the CPU is compiled, run on kernels and compared by the suite itself.

    pytest -m sweep tests/end_to_end/test_onnx_conformance.py [--update-golden]

takes three minutes on two cores. With ``--update-golden`` it writes ``docs/conformance.md``.
"""

from __future__ import annotations

import fnmatch
import multiprocessing
import os
import unittest
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx.backend.test
import pytest

from tilewright.compiler.onnx_backend import TilewrightBackend

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"

STRINGS = "strings: a tensor has memory of a size that is known, and texts have none"
RANDOM = "random numbers, of which the suite itself does not say which"

LEFT_OUT: dict[str, str] = {
    "test_ai_onnx_ml_label_encoder_*": STRINGS,
    "test_bernoulli*": RANDOM,
    "test_dft_inverse*": "asks for the rounding errors of another algorithm where ours gives zeros",
    "test_equal_string*": STRINGS,
    "test_gradient_of_*": "a derivative of the network: training is not what a compiler for inference is for",
    "test_loop13_seq": "a sequence without tensors as input, whose element type and number nothing says",
    "test_loop16_seq_none": "a sequence without tensors as input, whose element type and number nothing says",
    "test_optional_has_element_empty_optional_input": "an optional input is one that is given",
    "test_regex_full_match_*": STRINGS,
    "test_resize_downsample_scales_*_align_corners": "aligns to an extent before rounding, unlike onnxruntime",
    "test_string_*": STRINGS,
    "test_strnorm*": STRINGS,
}
"""Patterns of names of cases that do not pass, and why."""


def cases() -> list[unittest.TestCase]:
    """Those for the CPU but of the nine trained networks that the suite downloads."""
    suite = onnx.backend.test.BackendTest(TilewrightBackend, __name__)
    return [
        kind(name)
        for title, kind in suite.test_cases.items()
        if title != "OnnxBackendRealModelTest"
        for name in unittest.defaultTestLoader.getTestCaseNames(kind)
        if name.endswith("_cpu")
    ]


def name_of(case: unittest.TestCase) -> str:
    return case.id().rpartition(".")[2].removesuffix("_cpu")


def failure(case: unittest.TestCase) -> tuple[str, str | None]:
    """The name of a case, and the last line of what it says where it does not pass."""
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.run(result)
    found = [text for _, text in (*result.failures, *result.errors)]
    return name_of(case), found[0].strip().splitlines()[-1] if found else None


_every: list[unittest.TestCase] = []


def _receive(every: list[unittest.TestCase]) -> None:
    _every.extend(every)


def _failure_of(index: int) -> tuple[str, str | None]:
    return failure(_every[index])


def reason(name: str) -> str | None:
    return next((why for pattern, why in LEFT_OUT.items() if fnmatch.fnmatch(name, pattern)), None)


def document(names: Sequence[str], failed: Sequence[str]) -> str:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name in sorted(failed):
        by_reason[str(reason(name))].append(name)
    rows = sorted(by_reason.items(), key=lambda row: (-len(row[1]), row[0]))
    table = "\n".join(f"| {len(each)} | {why} |" for why, each in rows)
    lists = "\n\n".join(f"**{why[0].upper()}{why[1:]}**: {', '.join(f'`{n}`' for n in each)}." for why, each in rows)
    return f"""# ONNX conformance

`tilewright.compiler.onnx_backend` has onnx's interface for backends: a model is compiled for the inputs of a run and
runs on kernels. Of the {len(names):,} cases for the CPU in the backend test suite of onnx {onnx.__version__},
**{len(names) - len(failed):,} pass**, compared by the suite with its own tolerances; its nine networks that are
downloaded are not among them. This page is made by

<!-- not run: it is this test, which takes half an hour -->
```sh
pytest -m sweep tests/end_to_end/test_onnx_conformance.py --update-golden
```

which fails where a case fails that is not listed here.

| cases | why they do not pass |
|--:|:--|
{table}

## The cases

{lists}
"""


@pytest.mark.sweep
def test_the_suite_passes_but_for_what_the_document_lists(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    update = request.config.getoption("--update-golden")
    if not update and f"onnx {onnx.__version__}," not in text:
        pytest.skip("docs/conformance.md is of another version of onnx")
    # The suite writes down the networks that it makes.
    monkeypatch.setenv("ONNX_HOME", str(tmp_path))
    every = cases()
    # Cases are classes that the suite makes, which other processes have only as copies of this one.
    with multiprocessing.get_context("fork").Pool(os.cpu_count(), _receive, (every,)) as pool:
        found = dict(pool.imap_unordered(_failure_of, range(len(every)), chunksize=4))
    failed = {name: said for name, said in found.items() if said is not None}
    assert not {name: said for name, said in failed.items() if reason(name) is None}
    unused = [pattern for pattern in LEFT_OUT if not fnmatch.filter(failed, pattern)]
    assert not unused, "these pass now"
    page = document([*found], [*failed])
    if update:
        DOCUMENT.write_text(page, encoding="utf-8")
    else:
        assert page == text, "docs/conformance.md is not current: run this with --update-golden"
