"""Every module of every test is printed, parsed back and compared.

``ir.verify.verify`` is wrapped before anything else imports it, so that the passes, the pipeline and the tests all go
through the wrapper. Round trip is thereby a property of each test's modules at each stage, not a test of its own. The
modules that a test builds and never verifies are taken at its end, as far as they are well-formed: a test may well
build a malformed one on purpose.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from tilewright.errors import TilewrightError
from tilewright.ir import verify as verify_module
from tilewright.ir.core import Module
from tilewright.ir.op import REGISTRY
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import blobs, print_module

LARGE = 30
"""Ops. Of modules with more, most of them networks after one of many passes and tile programs, one in `ONE_IN` is
taken: they would take a quarter of the time of all tests, and what they are made of stands in small ones as well."""

ONE_IN = 8
"""Of modules that have no line of a new form one in so many is taken, too: a pass leaves most lines as they were."""

_checked: set[bytes] = set()
_forms: set[str] = set()
"""The lines of the modules that were taken, as `form` gives them."""

_NAMES = re.compile(r"(?<=[%@])[\w.$-]+")
_PLAIN_TEXTS = re.compile(r'"[\w .,:/-]*"')
_NUMBERS = re.compile(r"0x[0-9a-f.]+p[+-]?[0-9]+|[0-9]+")


def form(line: str) -> str:
    """A line of a module without its names, plain texts, and the digits of its types: of equal form is what is printed
    and parsed alike. Attributes are all of it."""
    before, brace, rest = _PLAIN_TEXTS.sub('""', _NAMES.sub("", line)).partition("{")
    attributes, end, behind = rest.rpartition("}")
    return f"{_NUMBERS.sub('0', before)}{brace}{attributes}{end}{_NUMBERS.sub('0', behind)}"


def check_round_trip(module: Module, elsewhere: Collection[str] = ()) -> None:
    """Fails unless the text of ``module`` parses to a module that verifies and prints the same text.

    ``elsewhere`` names the functions that the module calls but does not hold.
    """
    count = sum(1 for _ in module.ops)
    if count > LARGE and count % ONE_IN:
        return
    text = print_module(module)
    key, forms = hashlib.sha256(text.encode()).digest(), set(map(form, text.splitlines()))
    if key in _checked or (forms <= _forms and count % ONE_IN):
        return
    # A test may bring operators of its own, which stand in no registry but on the ops themselves.
    registry = {**REGISTRY, **{op.name: type(op.operator) for op in module.ops}}
    again = parse_module(text, blobs(module), registry=registry)
    _verify(again, elsewhere=elsewhere)
    assert print_module(again) == text, "a module prints differently after it was parsed back"
    # Constants are named by their content, so equal text means equal arrays; types alone are not in the digest.
    for name, constant in module.constants.items():
        assert again.constants[name].array.dtype == constant.array.dtype, f"constant @{name} changed its dtype"
    _checked.add(key)
    _forms.update(forms)


def _verify_and_round_trip(module: Module, *, stage: str | None = None, elsewhere: Collection[str] = ()) -> None:
    _verify(module, stage=stage, elsewhere=elsewhere)
    check_round_trip(module, elsewhere)


_verify = verify_module.verify


def install() -> None:
    """Puts the round trip behind ``verify`` for the rest of the process."""
    verify_module.verify = _verify_and_round_trip


@contextmanager
def every_new_module() -> Iterator[None]:
    """Checks, at the end, each module that was built meanwhile and is well-formed."""
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
        try:
            _verify(module)
        except TilewrightError:
            continue
        check_round_trip(module)
