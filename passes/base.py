"""What a pass is, and what is checked around every run of one.

A pass is a frozen dataclass, without saying so, in a file of its own: its fields are its options, and its name is that
of file, class (in camel case) and command-line flag in one. It declares what it requires and ensures and says whether
it modified the module; :meth:`Pass.run` checks all three and verifies the module afterwards, so that blame falls on the
right pass.
"""

import dataclasses
import enum
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np

from tilewright import limits
from tilewright.errors import ModelError, PassError, ResourceError, TilewrightError, UsageError
from tilewright.immutable import Immutable

from ..ir.annotations import ALIAS, AT, ON
from ..ir.calls import host_functions
from ..ir.core import Module, Op, Value
from ..ir.text.literals import WORDS
from ..ir.text.printer import print_module, print_op
from ..ir.verify import verify


class Invariant(Immutable):
    """A named, checkable fact.
    ``name``: as it stands in messages, such as ``placed``.
    ``violation``: the first op, value or text that breaks it, ``None`` where it holds."""

    name: str
    violation: Callable[[Module], Op | Value | str | None]


def _first_with_layout(module: Module) -> Value | None:
    parameters = (parameter for function in module.functions.values() for parameter in function.parameters)
    results = (value for op in module.ops for value in op.results)
    return next((v for v in chain(parameters, module.constants.values(), results) if v.type.layout), None)


def proved(name: str, check: Callable[[Module], object]) -> Invariant:
    """The invariant that holds where ``check`` raises no PassError."""

    def violation(module: Module) -> str | None:
        try:
            check(module)
        except PassError as error:
            return str(error)
        return None

    return Invariant(name, violation)


def is_written_plainly(value: Value) -> bool:
    """Whether an op makes the value, in row-major order, so that the op can write into the caller's buffer."""
    return value.producer is not None and not value.type.layout


def _first_bad_output(module: Module) -> Value | None:
    for function in host_functions(module):
        seen: set[Value] = set()
        for value in function.results:
            if value in seen or not is_written_plainly(value):
                return value
            seen.add(value)
    return None


def _first(is_wrong: Callable[[Op], bool]) -> Callable[[Module], Op | None]:
    return lambda module: next(filter(is_wrong, module.ops), None)


PLACED = Invariant("placed: every op says where it runs", _first(lambda op: not ON.is_at(op)))
PLAIN = Invariant("plain: every value is in row-major order", _first_with_layout)
UNPLANNED = Invariant("unplanned: no op has an address yet", _first(lambda op: AT.is_at(op) or ALIAS.is_at(op)))
OUTPUTS_APART = Invariant("outputs apart: each output is a row-major op result of its own", _first_bad_output)
NO_DEAD_OPS = Invariant("no dead ops: every op is used", _first(lambda op: not any(v.uses for v in op.results)))


class Verification(enum.Enum):
    """How much is checked around each pass."""

    OFF = "off"
    EACH = "each"
    """Invariants and well-formedness; the default."""
    FULL = "full"
    """Also that a pass which reports no change made none."""

    @staticmethod
    def from_environment() -> "Verification":
        """The level that ``TILEWRIGHT_VERIFY`` names. Raises UsageError: there is no such level."""
        name = os.environ.get("TILEWRIGHT_VERIFY", "") or Verification.EACH.value
        try:
            return Verification(name)
        except ValueError:
            levels = ", ".join(level.value for level in Verification)
            raise UsageError("TILEWRIGHT_VERIFY names no level of checking", expected=levels, found=name) from None


@dataclass
class Record:
    """What one run of a pass did.

    Attributes:
        counts: how often each rule or kind of change happened.
        declined: why a rule that matched could not be applied, by the name of the result.
        applied: the rule that made a value, by its name; the last one where it was made several times.
        seconds: wall-clock time of the pass itself, without checks.
        price: in cycles, of what a pass chose by prices; 0 where it did not.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    declined: dict[str, str] = field(default_factory=dict)
    applied: dict[str, str] = field(default_factory=dict)
    modified: bool = False
    seconds: float = 0.0
    price: float = 0.0


class Pass(Immutable):
    """Base of all passes. A subclass defines :meth:`apply`; its dataclass fields are its options."""

    name: ClassVar[str] = "pass"
    """Set from the name of the class: ``FoldConstants`` is ``fold_constants``."""

    requires: ClassVar[tuple[Invariant, ...]] = ()
    ensures: ClassVar[tuple[Invariant, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def apply(self, module: Module, record: Record) -> bool:
        """Change ``module`` in place; whether anything changed."""
        raise NotImplementedError(type(self).__name__)

    def run(self, module: Module, *, verification: Verification | None = None) -> Record:
        """Check, apply, verify.
        ``verification``: how much to check; by default what ``TILEWRIGHT_VERIFY`` says.
        Raises PassError: the pass failed, met a module that breaks what it requires, left one that breaks what it
        ensures or is not well-formed, or changed it without saying so; names pass, op and source node; ModelError,
        ResourceError: the network itself cannot be compiled, or asks for more than the limits allow; passed on with the
        name of the pass."""
        level = verification if verification is not None else Verification.from_environment()
        record = Record(self.name)
        if level is not Verification.OFF:
            self._check(self.requires, module, "needs")
        before = print_module(module) if level is Verification.FULL else None
        start = time.perf_counter()
        # Numbers of a network may overflow or be none: rules look at what comes out.
        with self.at_work(), np.errstate(all="ignore"):
            record.modified = self.apply(module, record)
        record.seconds = time.perf_counter() - start
        record.counts = +record.counts
        if level is Verification.OFF:
            return record
        if before is not None and not record.modified and print_module(module) != before:
            raise PassError("the pass changed the module but reports that it did not", stage=self.name)
        self.check(module)
        return record

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """What goes wrong meanwhile is an error of this pass, as of `run`, also where its parts run without it."""
        try:
            yield
        except (ModelError, PassError, ResourceError) as error:
            error.stage = error.stage or self.name
            raise
        except TilewrightError as error:
            raise self._error(error, error.message) from error
        except Exception as error:
            raise PassError(
                f"internal error: {type(error).__name__}: {error}",
                stage=self.name,
                hint="TILEWRIGHT_DUMP=FOLDER writes the module that the pass met.",
            ) from error

    def check(self, module: Module) -> None:
        """Check what the pass left.
        Raises PassError: the module is not well-formed or breaks what the pass ensures; names pass, op and source
        node."""
        try:
            verify(module, stage=self.name)
        except TilewrightError as error:
            raise self._error(error, f"the pass left a module that is not well-formed: {error.message}") from error
        self._check(self.ensures, module, "promises")

    def _error(self, error: TilewrightError, message: str) -> PassError:
        """An error of this pass, about the same as another error."""
        return PassError(
            message,
            stage=self.name,
            op=error.op,
            node=error.node,
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        )

    def _check(self, invariants: tuple[Invariant, ...], module: Module, verb: str) -> None:
        for invariant in invariants:
            culprit = invariant.violation(module)
            if culprit is None:
                continue
            op = culprit if isinstance(culprit, Op) else culprit.producer if isinstance(culprit, Value) else None
            found = print_op(culprit) if isinstance(culprit, Op) else repr(culprit)
            raise PassError(
                f"the pass {verb} a module that is {invariant.name}",
                stage=self.name,
                op=op.name if op is not None else None,
                node=op.node if op is not None else None,
                found=culprit if isinstance(culprit, str) else found,
            )

    def __str__(self) -> str:
        """The pass as it is spelled in a pipeline; options that have their default value are left out."""
        changed = {
            option.name: getattr(self, option.name)
            for option in dataclasses.fields(self)
            if getattr(self, option.name) != option.default
        }
        inner = ",".join(f"{key}={print_option(value)}" for key, value in changed.items())
        return f"{self.name}{{{inner}}}" if inner else self.name


def print_option(value: Any) -> str:
    """An option's value as :meth:`tilewright.passes.pipeline.Pipeline.parse` reads it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{','.join(map(print_option, value))}]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        return value if value not in WORDS else json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


def merged_loc(ops: Iterable[Op]) -> tuple[str, ...]:
    """The source nodes of what stands for all of ``ops``, in order, each once; the first ones where they are many."""
    names = dict.fromkeys(name for op in ops for name in op.loc)
    return tuple(islice(names, limits.SOURCES))


def erase_dead(op: Op) -> int:
    """Erase ``op`` if nothing reads its results, then the producers that this leaves unread; how many went."""
    count = 0
    pending = [op]
    while pending:
        candidate = pending.pop()
        if candidate.function is None or any(value.uses for value in candidate.results):
            continue
        producers = [value.producer for value in candidate.inputs if value.producer is not None]
        candidate.erase()
        count += 1
        pending.extend(producers)
    return count
