"""Every module of every test is printed, parsed back and compared.

``ir.verify.verify`` is wrapped before anything else imports it, so that the passes, the pipeline and the tests all go
through the wrapper. Round trip is thereby a property of each test's modules at each stage, not a test of its own. The
modules that a test builds and never verifies are taken at its end, as far as they are well-formed: a test may well
build a malformed one on purpose.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from operator import is_
from pathlib import Path

from tilewright.errors import TilewrightError
from tilewright.ir import verify as verify_module
from tilewright.ir.core import Module, Op, types_of
from tilewright.ir.op import REGISTRY, Operator, attribute_types
from tilewright.ir.text.literals import INLINE_ELEMENTS
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import blobs, is_inline, print_module
from tilewright.ir.types import TensorType

LARGE = 30
"""Ops. Of modules with more, most of them networks after one of many passes and tile programs, one in `OF_LARGE` is
looked at: all would take a quarter of the time of all tests, and what they are made of stands in small ones as well."""

OF_LARGE = 8

ONE_IN = 48
"""Of modules in which nothing has a new form one in so many is taken, too: a pass leaves most ops as they were."""

_checked: set[bytes] = set()
_forms: set[Hashable] = set()
"""What stands in the modules that were taken, here or by another worker, as `forms` gives it."""

_shared: Path | None = None
"""The file of all workers, a digest on each line for each form that one of them took."""

_read = 0
"""Bytes of it that were read already."""

_of_others: set[str] = set()
"""The digests in these."""

_verified: dict[int, Module] = {}
"""The modules that were verified since the test began, by identity; held, so that no other one gets it."""

_states: dict[int, list[object]] = {}
"""What `_state` was when each of them was looked at last."""

_PLAIN = re.compile(r"[\w .,:/$-]*")


def _plain(names: Iterable[str]) -> bool:
    # A comma is plain, too.
    return _PLAIN.fullmatch(",".join(names)) is not None


def _type_form(type: TensorType) -> Hashable:
    quant = type.quant
    # Many scales are printed as the hash of their array.
    scales = quant and (quant.axis is None, len(quant.scale) > INLINE_ELEMENTS, quant.zero_points[0] < 0)
    return type.dtype, type.rank, type.layout, scales


def _literal_form(value: object) -> Hashable:
    if type(value) is int:
        return int, value < 0
    return (tuple, *dict.fromkeys(map(_literal_form, value))) if isinstance(value, tuple) else value


@cache
def _operator_form(operator: Operator) -> Hashable:
    return type(operator), *(_literal_form(getattr(operator, name)) for name in attribute_types(type(operator)))


def op_form(op: Op) -> Hashable:
    """What an op is printed as, but for names, extents, scales, integers among attributes and the numbers of
    annotations: of equal form is what is printed and parsed alike."""
    present = tuple(value is not None for value in op._operands)
    annotations = tuple(
        (name, value if isinstance(value, str) else type(value)) for name, value in op.annotations.items()
    )
    types = tuple(_type_form(value.type) for value in op.results)
    names = _plain(op.loc), _plain(value.name for value in op.results)
    return _operator_form(op.operator), present, annotations, types, *names


def forms(module: Module) -> set[Hashable]:
    """The forms of all that a module prints."""
    found: set[Hashable] = {(*module.metadata, _plain([module.name]))}
    for constant in module.constants.values():
        found.add((_type_form(constant.type), is_inline(constant.array), _plain([constant.name])))
    for function in module.functions.values():
        ends = tuple(map(_type_form, types_of(function.parameters))), tuple(map(_type_form, types_of(function.results)))
        names = function.name, *(each.name for each in function.parameters), *function.result_names
        found.add((*ends, tuple(function.annotations), _plain(names)))
        found.update(map(op_form, function.ops))
    return found


def share_forms(folder: Path) -> None:
    """Take no form that another worker has taken, by a file in a folder of them all."""
    global _shared
    _shared = folder / "round_trip_forms"


def _digest(form: Hashable) -> str:
    # What has the address of an object in its text is known to nobody else.
    return hashlib.sha256(repr(form).encode()).hexdigest()


def _are_known(found: set[Hashable]) -> bool:
    global _read
    new = found - _forms
    if not new or _shared is None:
        return not new
    with suppress(FileNotFoundError), _shared.open("rb") as file:
        file.seek(_read)
        content = file.read()
        # Another worker may just be writing the last line.
        whole = content[: content.rfind(b"\n") + 1]
        _read += len(whole)
        _of_others.update(whole.decode().split())
    known = {form for form in new if _digest(form) in _of_others}
    _forms.update(known)
    return known == new


def _remember(found: set[Hashable]) -> None:
    new = found - _forms
    _forms.update(new)
    if new and _shared is not None:
        with _shared.open("ab", buffering=0) as file:
            file.write("".join(f"{_digest(form)}\n" for form in new).encode())


def _state(module: Module) -> list[object]:
    """All that a module is printed from: two passes of three leave it as it was. Held, so that nothing new is taken for
    what was there."""
    found: list[object] = [module, *module.constants.values(), *module.metadata.values()]
    for function in module.functions.values():
        found += (function, *function.annotations.values(), *function.result_names)
        found += (*function.parameters, *function.results)
        found += [part for value in function.parameters for part in (value.type, value.name)]
        for op in function.ops:
            found += (op, op.operator, op.loc, *op._operands, *op.annotations, *op.annotations.values())
            found += [part for value in op.results for part in (value.type, value.name)]
    return found


def _is_same(state: list[object], other: list[object]) -> bool:
    return len(state) == len(other) and all(map(is_, state, other))


def check_round_trip(module: Module, elsewhere: Collection[str] = ()) -> None:
    """Does the round trip of a module, unless others show the same.

    ``elsewhere`` names the functions that the module calls but does not hold.
    """
    count = sum(1 for _ in module.ops)
    if count > LARGE and count % OF_LARGE:
        return
    state = _state(module)
    if _is_same(_states.get(id(module), []), state):
        return
    _states[id(module)] = state
    found = forms(module)
    # Printing takes much longer than that, and parsing four times as long. The remainder says nothing about the module.
    if _are_known(found) and (17 * count + 5 * len(module.constants) + len(module.name)) % ONE_IN:
        return
    round_trip(module, elsewhere)
    _remember(found)


def round_trip(module: Module, elsewhere: Collection[str] = ()) -> None:
    """Fails unless the text of ``module`` parses to a module that verifies and prints the same text."""
    text = print_module(module)
    key = hashlib.sha256(text.encode()).digest()
    if key in _checked:
        return
    # A test may bring operators of its own, which stand in no registry but on the ops themselves.
    registry = {**REGISTRY, **{op.name: type(op.operator) for op in module.ops}}
    again = parse_module(text, blobs(module), registry=registry)
    _verify(again, elsewhere=elsewhere)
    _verified[id(again)] = again
    assert print_module(again) == text, "a module prints differently after it was parsed back"
    # Constants are named by their content, so equal text means equal arrays; types alone are not in the digest.
    for name, constant in module.constants.items():
        assert again.constants[name].array.dtype == constant.array.dtype, f"constant @{name} changed its dtype"
    _checked.add(key)


def _verify_and_round_trip(module: Module, *, stage: str | None = None, elsewhere: Collection[str] = ()) -> None:
    _verify(module, stage=stage, elsewhere=elsewhere)
    _verified[id(module)] = module
    check_round_trip(module, elsewhere)


_verify = verify_module.verify


def install() -> None:
    """Puts the round trip behind ``verify`` for the rest of the process."""
    verify_module.verify = _verify_and_round_trip


@contextmanager
def every_new_module() -> Iterator[None]:
    """Checks, at the end, each module that was built meanwhile, never verified, and is well-formed."""
    _verified.clear()
    _states.clear()
    built: list[Module] = []
    initialize = Module.__init__

    def remember(self: Module, name: str) -> None:
        initialize(self, name)
        built.append(self)

    Module.__init__ = remember
    try:
        yield
    finally:
        Module.__init__ = initialize
    for module in built:
        if id(module) in _verified:
            continue
        try:
            _verify(module)
        except TilewrightError:
            continue
        check_round_trip(module)
