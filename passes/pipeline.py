"""All passes, and pipelines of them that are spelled as text, ``fold_constants,canonicalize{limit=10},fuse``."""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from tilewright.errors import IRError, UsageError, similar
from tilewright.immutable import Immutable

from ..ir.core import Module
from ..ir.op import coerce
from ..ir.text.tokens import STRING, TokenReader
from .base import Pass, Record, Verification
from .instruments import Instrument

for _module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):
    # What stands beside the folders is what passes are made with; some of it imports this file.
    if _module.name.count(".") > __name__.count("."):
        importlib.import_module(_module.name)

_FOUND = [cls for cls in Pass.__subclasses__() if cls.__module__.startswith(f"{__package__}.")]

PASSES: dict[str, type[Pass]] = {cls.name: cls for cls in sorted(_FOUND, key=lambda cls: cls.name)}


_TOKEN = re.compile(
    rf"""(?P<space>\s+)
    |(?P<string>{STRING})
    |(?P<float>-?(?:[0-9]+\.[0-9]*(?:e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+|inf\b))
    |(?P<int>-?[0-9]+)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<punctuation>[{{}}\[\],=])""",
    re.VERBOSE,
)


class Pipeline(Immutable):
    """Passes in order of execution. ``name``: what the whole is for, as instruments show it."""

    passes: tuple[Pass, ...]
    name: str = "pipeline"

    def run(
        self, module: Module, *, instruments: Sequence[Instrument] = (), verification: Verification | None = None
    ) -> list[Record]:
        """Run every pass on ``module``, in place.
        ``instruments``: called around each pass, in order.
        ``verification``: how much to check; by default what ``TILEWRIGHT_VERIFY`` says.
        Returns what each pass did.
        Raises PassError, ModelError: see :meth:`Pass.run`."""
        records: list[Record] = []
        for instrument in instruments:
            instrument.start(self.name, module)
        for current in self.passes:
            for instrument in instruments:
                instrument.before(current, module)
            record = current.run(module, verification=verification)
            records.append(record)
            for instrument in instruments:
                instrument.after(current, module, record)
        return records

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))

    @staticmethod
    def parse(text: str, known: Mapping[str, type[Pass]] = PASSES) -> "Pipeline":
        """The pipeline that ``text`` spells.
        ``known``: the passes to know.
        Raises ParseError: unknown pass or option, or a value of the wrong type, with a caret under it."""
        return Pipeline(tuple(_Parser(text, known).parse()))


class _Parser(TokenReader):
    def __init__(self, text: str, known: Mapping[str, type[Pass]]) -> None:
        super().__init__(text, _TOKEN, float)
        self._known = known

    def parse(self) -> list[Pass]:
        passes: list[Pass] = []
        while self._token.kind != "end":
            if passes:
                self._expect(",")
            passes.append(self._pass())
        return passes

    def _pass(self) -> Pass:
        start = self._expect_kind("word", "the name of a pass")
        cls = self._known.get(start.text)
        if cls is None:
            raise self._error(f"unknown pass {start.text!r}{_suggest(start.text, self._known)}", start)
        options = self._options(cls) if self._accept("{") else {}
        for option in dataclasses.fields(cls):
            if option.name not in options and option.default is dataclasses.MISSING:
                raise self._error(f"pass {cls.name} needs option {option.name!r}", start)
        return cls(**options)

    def _options(self, cls: type[Pass]) -> dict[str, Any]:
        types = get_type_hints(cls)
        declared = {option.name: types[option.name] for option in dataclasses.fields(cls)}
        found: dict[str, Any] = {}
        for _ in self._elements("}"):
            start = self._expect_kind("word", "the name of an option")
            name = start.text
            if name not in declared:
                raise self._error(f"pass {cls.name} has no option {name!r}{_suggest(name, declared)}", start)
            if name in found:
                raise self._error(f"option {name!r} is given twice", start)
            self._expect("=")
            start = self._token
            value = self._literal()
            try:
                found[name] = coerce(value, declared[name])
            except IRError as error:
                raise self._error(f"{name}: {error}", start) from None
        return found


def check_names(names: Collection[str], known: Collection[str] = PASSES) -> None:
    """Refuse names of passes that are none of ``known``, nor ``*`` for all.
    Raises UsageError: names the first such, and what is known."""
    for name in names:
        if name != "*" and name not in known:
            raise UsageError(f"there is no pass {name!r} to print after{_suggest(name, known)}")


def _suggest(name: str, known: Collection[str]) -> str:
    if question := similar(name, known):
        return f". {question}"
    return f" (known: {', '.join(known) or 'none'})"
