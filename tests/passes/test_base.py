"""What the base class of passes checks, and what its errors say."""

from __future__ import annotations

import pytest
from before_after import parse

from tilewright.errors import IRError, PassError, UnsupportedError, UsageError
from tilewright.ir.core import Module
from tilewright.ir.op import REGISTRY
from tilewright.passes.base import PLACED, UNPLANNED, Pass, Record, Verification
from tilewright.passes.pipeline import PASSES
from tilewright.passes.simplify.eliminate_dead_code import EliminateDeadCode
from tilewright.passes.simplify.fold_constants import FoldConstants

RESHAPE = """
  func @main(%x: f32[2,3]) -> (%y: f32[6]) {
    %y = reshape(%x) {shape=[6]} : f32[6] loc("Reshape_1")
    return %y
  }
"""


def test_name_follows_from_the_class() -> None:
    assert FoldConstants.name == "fold_constants"
    assert all(name == cls.name == cls.__module__.rpartition(".")[2] for name, cls in PASSES.items())


def test_options_print_where_they_are_not_the_default() -> None:
    assert str(FoldConstants()) == "fold_constants"
    assert str(FoldConstants(max_bytes=8, keep=("cast",))) == "fold_constants{max_bytes=8,keep=[cast]}"


def test_reports_a_change_that_the_pass_denies() -> None:
    class Deny(Pass):
        def apply(self, module: Module, record: Record) -> bool:
            module.main.annotations["arena_bytes"] = 1
            return False

    with pytest.raises(PassError, match=r"^deny: the pass changed the module but reports that it did not$"):
        Deny().run(parse(RESHAPE), verification=Verification.FULL)
    assert Deny().run(parse(RESHAPE), verification=Verification.EACH).modified is False


def test_names_what_the_pass_requires() -> None:
    class Needy(Pass):
        requires = (PLACED,)

    with pytest.raises(PassError) as caught:
        Needy().run(parse(RESHAPE))
    assert str(caught.value) == (
        "needy: reshape: node 'Reshape_1': the pass needs a module that is placed: every op says where it runs; "
        'found %y = reshape(%x) {shape=[6]} : f32[6] loc("Reshape_1")'
    )


def test_names_what_the_pass_ensures() -> None:
    class Broken(Pass):
        ensures = (UNPLANNED,)

        def apply(self, module: Module, record: Record) -> bool:
            next(module.ops).annotations["at"] = (0,)
            return True

    with pytest.raises(PassError, match="broken: reshape: node 'Reshape_1': the pass promises a module that is unpl"):
        Broken().run(parse(RESHAPE))


def test_blames_the_pass_for_a_malformed_module() -> None:
    class Scramble(Pass):
        def apply(self, module: Module, record: Record) -> bool:
            value = next(module.ops).result
            value.type = value.type.with_shape((7,))
            return True

    with pytest.raises(PassError, match=r"^scramble: reshape: node 'Reshape_1': the pass left a module that is not"):
        Scramble().run(parse(RESHAPE))
    Scramble().run(parse(RESHAPE), verification=Verification.OFF)


def test_errors_inside_a_pass_name_it() -> None:
    class Fail(Pass):
        def apply(self, module: Module, record: Record) -> bool:
            raise IRError("no such thing", op="reshape", node="Reshape_1", expected=1, found=2, hint="Do otherwise")

    with pytest.raises(PassError) as caught:
        Fail().run(parse(RESHAPE))
    assert str(caught.value) == ("fail: reshape: node 'Reshape_1': no such thing; expected 1, found 2. Do otherwise")


def test_mistakes_inside_a_pass_name_it_too() -> None:
    class Mistaken(Pass):
        def apply(self, module: Module, record: Record) -> bool:
            return bool(module.constants["no such constant"])

    with pytest.raises(
        PassError, match=r"^mistaken: internal error: KeyError: 'no such constant'. TILEWRIGHT_DUMP="
    ) as e:
        Mistaken().run(parse(RESHAPE))
    assert isinstance(e.value.__cause__, KeyError)


def test_errors_of_the_model_stay_what_they_are() -> None:
    class Refuse(Pass):
        def apply(self, module: Module, record: Record) -> bool:
            raise UnsupportedError("too new", op="reshape")

    with pytest.raises(UnsupportedError, match=r"^refuse: reshape: too new$"):
        Refuse().run(parse(RESHAPE))


def test_level_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for level in Verification:
        monkeypatch.setenv("TILEWRIGHT_VERIFY", level.value)
        assert Verification.from_environment() is level
    monkeypatch.setenv("TILEWRIGHT_VERIFY", "sometimes")
    with pytest.raises(UsageError, match="expected off, each, full, found sometimes"):
        EliminateDeadCode().run(parse(RESHAPE))


def test_every_pass_documents_itself_and_takes_an_empty_module() -> None:
    assert REGISTRY
    for cls in PASSES.values():
        assert cls.__doc__
        assert not cls.__doc__.startswith(f"{cls.__name__}("), f"{cls.__name__} has no docstring of its own"
