"""What ``GetInfo`` knows, in one table."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import tilewright
from tilewright.errors import TilewrightWarning, similar, warn
from tilewright.immutable import Immutable

from ...artifact.manifest import TensorSpec
from .debug_text import units
from .errors import AcceleratorError
from .facts import VERSIONS, Facts
from .flag import plain_text
from .flags import BY_NAME, help_text

Answer = float | int | str | None
Kind = Literal["float", "integer", "text", "nothing"]


class HostTimeWarning(TilewrightWarning):
    """A time is not the device's."""


class Information(Immutable):
    """A name that ``GetInfo`` takes.

    Attributes:
        kind: of the answer; ``nothing`` for those that print and return None.
        since: the edition of the SDK that documents it first.
        help: what the answer is, one sentence.
        answer: makes it.
    """

    name: str
    kind: Kind
    since: Literal[2018, 2020, 2022]
    help: str
    answer: Callable[[Facts], Answer]


def get_information(name: str | bytes, facts: Facts) -> Answer:
    """``GetInfo``: the answer to a name of the table, or the value of the flag of that name.

    Original: the second generation gave integers only, but for ``hwtime`` and ``version``, and knew no flags.
    Raises AcceleratorError: there is neither an information nor a flag of this name."""
    text = plain_text(name)
    if not isinstance(text, str):
        raise AcceleratorError("names are text", stage="GetInfo", found=type(name).__name__)
    if text in INFORMATION:
        return INFORMATION[text].answer(facts)
    if text in BY_NAME:
        value = facts.flags.get(text)
        return int(value) if isinstance(value, bool) and facts.generation == 2 else value
    hint = similar(text, [*INFORMATION, *BY_NAME]) or "GetInfo('help') prints the names."
    raise AcceleratorError("there is no such information", stage="GetInfo", found=f"{text!r:.60}", hint=hint)


def _hwtime(facts: Facts) -> float:
    seconds = facts.modelled_seconds
    if seconds is not None:
        return seconds * 1e3
    if facts.networks:
        warn(
            "hwtime: nothing of this network runs on the accelerator; this is the time of the last Run on this host",
            HostTimeWarning,
        )
    return facts.run_seconds * 1e3


def _shapes(specs: Sequence[TensorSpec]) -> str:
    return ";".join("x".join(map(str, spec.shape)) for spec in specs)


def _names(specs: Sequence[TensorSpec]) -> str:
    return ";".join(spec.name for spec in specs)


def _help(facts: Facts) -> None:
    lines = [f"{each.name} ({each.kind}): {each.help}" for each in INFORMATION.values()]
    print("\n".join([*lines, "and every flag:", help_text()]))


INFORMATION = {
    each.name: each
    for each in (
        Information(
            *("hwtime", "float", 2018),
            "Milliseconds that a Run takes on the device, by the cycle model, not measured; where nothing runs on the "
            "device, those that the last Run took on the host, with a warning.",
            _hwtime,
        ),
        Information("numcluster", "integer", 2018, "Clusters in use on each card.", lambda f: f.batch.clusters),
        Information("numfpga", "integer", 2018, "Cards in use.", lambda f: f.batch.cards),
        Information("numbatch", "integer", 2018, "Images that a Run takes together.", lambda f: f.batch.size),
        Information(
            "freq", "integer", 2018, "Clock of the machine in MHz.", lambda f: round(f.machine.clock_hertz / 1e6)
        ),
        Information("maxcluster", "integer", 2018, "Clusters of a card.", lambda f: f.machine.clusters),
        Information("maxfpga", "integer", 2018, "Virtual cards that there can be.", lambda f: f.most_cards),
        Information(
            *("version", "text", 2018),
            "The version of the SDK whose interface this is: v0.3.16 in the second generation, 2022.1.0 in the third.",
            lambda f: VERSIONS[f.generation],
        ),
        Information("busy_comp", "integer", 2020, "1 while a submission is being computed.", lambda f: int(f.busy())),
        Information("build", "text", 2020, "The version of Tilewright.", lambda f: tilewright.__version__),
        Information("hwversion", "text", 2020, "The name of the machine.", lambda f: f.machine.name),
        Information(
            "hwbuild", "text", 2020, "The first 16 digits of the machine's hash.", lambda f: f.machine.hash[:16]
        ),
        Information(
            "inshapes", "text", 2022, "Shapes of the inputs, such as 1x3x224x224;1x10.", lambda f: _shapes(f.inputs)
        ),
        Information("outshapes", "text", 2022, "Shapes of the outputs.", lambda f: _shapes(f.outputs)),
        Information("outshape", "text", 2020, "Shapes of the outputs, as outshapes.", lambda f: _shapes(f.outputs)),
        Information("innames", "text", 2022, "Names of the inputs, with ; between them.", lambda f: _names(f.inputs)),
        Information("outnames", "text", 2022, "Names of the outputs.", lambda f: _names(f.outputs)),
        Information("temperature", "float", 2022, "Not a number: virtual cards have none.", lambda _: math.nan),
        Information(
            *("hwdebug", "nothing", 2022),
            "Prints how many cycles each unit of a cluster is busy, modelled; there are no debug registers.",
            lambda facts: print("\n".join(map(units, facts.networks))),
        ),
        Information(
            *("print_flags", "nothing", 2022, "Prints the values of all flags."),
            lambda facts: print(facts.flags.values_text()),
        ),
        Information("help", "nothing", 2020, "Prints this table and that of the flags.", _help),
    )
}  # fmt: skip
"""The names that ``GetInfo`` takes beside those of the flags."""
