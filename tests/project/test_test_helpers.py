"""The helpers of the tests themselves: they must be able to fail."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import round_trip
import shared_kernels
from _pytest.assertion import AssertionState, rewrite
from grouped_tests import grouped
from operator_samples import Case, make_case, samples
from shared_bytecode import cache_of, shared_bytecode

from tilewright.ir import core, verify
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Binary
from tilewright.ir.text import printer
from tilewright.ir.text.parser import parse_module
from tilewright.ir.types import DType

ROOT = Path(__file__).parents[2]
InnerProject = Callable[..., subprocess.CompletedProcess[str]]


def sample_module() -> core.Module:
    return make_case("conv", next(samples(Conv, np.random.default_rng(0)))).module


def test_verifying_a_module_prints_and_parses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "_checked", set())
    monkeypatch.setattr(round_trip, "OF_LARGE", 1)
    monkeypatch.setattr(round_trip, "ONE_IN", 1)
    verify.verify(sample_module())

    def forgetful(op: core.Op, names: printer._ValueNames, print_line: Callable[..., str] = printer._op_line) -> str:
        copy = dataclasses.replace(op.operator, group=1)
        original, op.operator = op.operator, copy
        try:
            return print_line(op, names)
        finally:
            op.operator = original

    module = make_case("conv", list(samples(Conv, np.random.default_rng(0)))[4]).module
    monkeypatch.setattr(printer, "_op_line", forgetful)
    with pytest.raises(Exception, match="channels of x and w do not match"):
        verify.verify(module)


def test_an_op_is_known_by_its_operator_and_kinds_of_attributes_and_types() -> None:
    def form(rank: int = 2, zero: int = 4, axis: int = 0, place: str = "cpu", loc: str = '"a b"') -> object:
        type = f"i8[{', '.join(['7'] * rank)}]<s=0x1.{abs(zero)}p-3, z={zero}>"
        text = f"""module @m {{
          func @main(%x: {type}) -> (%y: {type}) {{
            %y = concat(%x) {{axis={axis}}} [on="{place}"] : {type} loc({loc})
            return %y
          }}
        }}"""
        return round_trip.op_form(next(parse_module(text).ops))

    known = form()
    assert known == form(zero=0, loc='"c"') == form(axis=1)
    others = (form(place="device"), form(rank=1), form(zero=-4), form(loc=r'"a\"b"'))
    assert all(other != known for other in others)
    numbers = [round_trip._literal_form(each) for each in ((1, 2), (3,), (1, -2), (1.0,), (2.0,), (), 1)]
    assert numbers[0] == numbers[1]
    assert len({*numbers}) == len(numbers) - 1


def test_a_module_of_which_anything_has_changed_is_looked_at_again() -> None:
    module = sample_module()
    (op, *_) = module.ops
    states = [round_trip._state(module)]

    def changed() -> bool:
        states.append(round_trip._state(module))
        return not round_trip._is_same(*states[-2:])

    assert not changed()
    op.annotations["on"] = "device"
    assert changed()
    for number in range(3):
        # What goes may lie where what comes lies.
        op.annotations["on"] = None
        op.annotations["on"] = (number, number + 1)
        assert changed()
    op.operator = dataclasses.replace(op.operator)
    assert changed()
    op.results[0].name = "another"
    assert changed()
    op.set_operand(0, module.main.parameters[-1] if op.operands[0] is not module.main.parameters[-1] else None)
    assert changed()
    module.main.result_names[0] = "renamed"
    assert changed()


def test_modules_that_nobody_verified_are_checked_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(round_trip, "check_round_trip", lambda module, elsewhere=(): checked.append(module.name))
    with round_trip.every_new_module():
        module = sample_module()
        malformed = core.Module("malformed")
        malformed.add_constant("w", np.zeros(2, np.float32)).name = "v"
        verified = sample_module()
        verify.verify(verified)
    # What was verified is checked there and then.
    assert checked == [verified.name, module.name]
    sample_module()
    assert len(checked) == 2


def test_a_pass_verifies_through_the_wrapper() -> None:
    assert verify.verify is round_trip._verify_and_round_trip


def test_a_group_names_the_case_that_fails_and_is_skipped_as_a_whole_or_not_at_all(rng: np.random.Generator) -> None:
    cases = [make_case(name, next(samples(Conv, rng))) for name in ("a1", "a2", "b1")]
    seen: list[str] = []

    @grouped(cases, lambda case: case.name[0])
    def test(case: Case, rng: np.random.Generator) -> None:
        seen.append(case.name)
        if case.name != "a2":
            pytest.skip("no case")
        assert rng is None, "a2 fails"

    assert [*inspect.signature(test).parameters] == ["group", "rng"]
    assert [*test.__dict__["pytestmark"][0].args[1]] == ["a", "b"]
    with pytest.raises(AssertionError, match="the case a2"):
        test(group="a", rng=rng)
    test(group="a", rng=None)
    with pytest.raises(pytest.skip.Exception, match="no case"):
        test(group="b", rng=rng)
    assert seen == ["a1", "a2", "a1", "a2", "b1"]


@pytest.mark.parametrize("is_rewritten", [True, False])
def test_modules_that_cannot_be_rewritten_are_left_to_collection(
    is_rewritten: bool, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    for name, text in (("a", "def"), ("b", "assert 1"), ("c", "\0")):
        (tmp_path / f"test_{name}.py").write_text(text)
    stash = pytest.Stash()
    if is_rewritten:
        stash[rewrite.assertstate_key] = AssertionState(pytestconfig, "rewrite")
    worker = {"workerid": "gw0", "workercount": 1}
    config: Any = SimpleNamespace(
        rootpath=tmp_path, args=["."], stash=stash, workerinput=worker, getini={"testpaths": ["."]}.get
    )
    with shared_bytecode(config, tmp_path / "kept"):
        pass
    assert [file.name for file in (tmp_path / "kept").rglob("*.pyc")] == [f"test_b{rewrite.PYC_TAIL}"] * is_rewritten


def test_where_nothing_can_be_kept_between_runs_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, is_kept in (tmp_path, True), (tmp_path / "file", False):
        cache = pytest.Cache(folder / "cache", cast(pytest.Config, None), _ispytest=True)
        config: Any = SimpleNamespace(cache=cache, pluginmanager=SimpleNamespace(has_plugin=lambda name: True))
        assert cache_of(config) is (cache if is_kept else None)


def test_what_was_compiled_is_kept_where_documentation_alone_changes(tmp_path: Path) -> None:
    def code(text: str) -> str:
        (tmp_path / "a.py").write_text(text)
        return shared_kernels._code(tmp_path / "a.py")

    known = code("A = 1\n\n\ndef f(x):\n    return x + A\n")
    assert known == code(
        '"""A."""\nA = 1\n"""B."""\ndef f(x):\n    """C."""\n    # Why.\n    return (x +\n        A)\n'
    )
    assert known != code("A = 2\n\n\ndef f(x):\n    return x + A\n")
    folders = shared_kernels._folders(tmp_path / "kernels")
    assert folders == shared_kernels._folders(tmp_path / "kernels")
    assert {*(tmp_path / "kernels").iterdir()} == {*folders}


def test_what_a_kernel_names_is_part_of_what_is_kept() -> None:
    scope: dict[str, Any] = {"LIMIT": 3, "os": os}
    exec("def f(x):\n    return [LIMIT + os.sep for _ in x]", scope)
    assert shared_kernels._named(scope["f"].__code__, scope) == [("LIMIT", 3)]


@pytest.fixture
def inner_project(tmp_path: Path) -> InnerProject:
    """Runs pytest on one test text, under this project's conftest, in a project of its own."""
    tests = tmp_path / "tests"
    tests.mkdir()
    helpers = ("quick_plans", "round_trip", "shared_bytecode", "shared_files", "shared_kernels")
    for name in ("conftest.py", *(f"helpers/{helper}.py" for helper in helpers)):
        (tests / Path(name).name).write_text((ROOT / "tests" / name).read_text())

    def run(text: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tests / "test_inner.py").write_text(text)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
            "--import-mode=importlib",
            "-o",
            "pythonpath=tests",
        ]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TILEWRIGHT_", "PYTEST_"))}
        return subprocess.run(
            [*command, *options, str(tests)],
            cwd=tmp_path,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
        )

    return run


def test_golden_files_are_compared_and_updated_on_request(inner_project: InnerProject, tmp_path: Path) -> None:
    text = "def test_text(golden):\n    golden('sub/one.txt', 'line\\n')\n"
    first = inner_project(text)
    assert first.returncode == 1
    assert "run this test with --update-golden" in first.stdout
    assert inner_project(text, "--update-golden").returncode == 0
    assert (tmp_path / "tests" / "golden" / "sub" / "one.txt").read_text() == "line\n"
    other = text.replace("line", "other").replace("test_text", "test_other")
    assert "1 failed, 1 passed" in inner_project(f"{text}{other}").stdout


def test_the_data_folder_is_optional_but_must_exist(inner_project: InnerProject, tmp_path: Path) -> None:
    text = "def test_data(data_folder):\n    assert data_folder.is_dir()\n"
    without = inner_project(text)
    assert without.returncode == 0
    assert "1 skipped" in without.stdout
    assert inner_project(text, TILEWRIGHT_DATA=str(tmp_path)).returncode == 0
    assert inner_project(text, TILEWRIGHT_DATA=str(tmp_path / "absent")).returncode == 1


def test_random_numbers_depend_on_the_test_alone(inner_project: InnerProject, tmp_path: Path) -> None:
    text = (
        "from pathlib import Path\n"
        "def test_one(rng): Path('one').write_text(str(rng.integers(1 << 30)))\n"
        "def test_two(rng): Path('two').write_text(str(rng.integers(1 << 30)))\n"
    )
    drawn = []
    for selected in ("", "two"):
        assert inner_project(text, "-k", selected).returncode == 0
        drawn.append([(tmp_path / name).read_text() for name in ("one", "two")])
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]


def test_samples_of_a_new_operator_have_the_element_types_that_it_takes() -> None:
    class OfFloats(Binary, dtypes=(DType.F16, DType.F32)):
        pass

    found = samples(OfFloats, np.random.default_rng(0))
    assert {array.dtype for sample in found for array in sample.inputs if array is not None} == {np.dtype(np.float32)}
