"""The flags of one object of the Accelerator API: all that there are, in one table; setting, reading, printing them."""

from collections.abc import Callable, Mapping
from typing import Any

from tilewright.errors import similar, warn

from .errors import AcceleratorError, FlagWarning
from .flag import Flag, Letter, Since, Value, declare, plain_text

_MEMORY = "a run has memory of its own, so that no program is patched or kept twice"
_TEST_DATA = "programs give all data themselves"
_SCHEDULE = "the tile search already chooses the order of each layer by its modelled cost"
_LOADING = "a network is in memory when Init returns"
_SCALES = "a tensor has its own scale wherever ranges are known, and none where they are not"


class FlagValues:
    """The value of each flag that something asks for; the declarations say what it means and what else it may be."""

    debug: str = declare(
        "w", 2018, "What is printed: letters of the table below, one after the other; the empty text is silent."
    )
    options: str = declare("", 2018, "Letters, each of which sets one of the flags here.")
    help: str = declare(
        "", 2020, "Prints the flags and what they do; with the value print_opt their values as they are."
    )
    reset: str = declare("", 2022, "Sets every flag back to its default.")

    bitfile: str = declare(
        "", 2020, "Path or name of the description of the machine that stands for the card; it is read at once."
    )
    fpgaid: str = declare(
        "-1",
        2020,
        "sim runs the instructions in the simulator of the instruction set; with any other value the same integers are "
        "computed by kernels of the host. -1 and the names of boards all mean the next free virtual card.",
        choices=("-1", "510", "511", "852", "sim"),
    )
    nfpgas: int = declare(1, 2018, "How many cards a batch is divided among.", minimum=1)
    nclusters: int = declare(1, 2018, "How many clusters of each card are used.", minimum=1)
    firstcluster: int = declare(0, 2020, "The first cluster of those that are used.")
    imgs_per_cluster: int = declare(1, 2018, "How many images each cluster takes at once.", minimum=1)
    clustersbatchmode: int = declare(
        0,
        2018,
        "1: the clusters of a card work on one image together. 0: each has its own.",
        choices=(0, 1),
        aliases=("nobatch", "clusterbatchmode"),
        letters={"C": 1},
    )
    mvbatch: bool = declare(
        False,
        2020,
        "Demands that imgs_per_cluster is a multiple of 4, one image for each unit of a cluster; results are the same.",
        letters={"m": True},
    )
    blockingmode: bool = declare(
        True,
        2018,
        "1: PutInput and GetResult wait. 0: they return at once and say that they would have to.",
        aliases=("opt_blocking",),
    )

    convalgo: int = declare(
        0,
        2018,
        "What convolutions keep in the scratchpad: 0 whichever costs less for the layer, 1 and 3 the weights, 2 the "
        "feature map.",
        choices=(0, 1, 2, 3),
        letters={"k": 1, "r": 2, "K": 3},
    )
    hwlinear: bool = declare(
        True,
        2018,
        "0 keeps fully connected layers in floating point on the host, which is slower and more precise; networks that "
        "come quantised stay as they are.",
        letters={"H": True},
    )
    max_instr: int = declare(
        0,
        2018,
        "Compile refuses networks whose device program has more instructions; 0 is no limit.",
        aliases=("max_instruction_size",),
    )
    nlayers: int = declare(-1, 2020, "Only the first so many layers are compiled; 0 and -1 are all.", minimum=-1)
    lremove: int = declare(0, 2020, "So many layers at the end are left out.", aliases=("remove",))
    runsw: int = declare(
        0,
        2022,
        "What Run computes with: 0 the accelerator, 1 its software model, 2 floating point, which then "
        "prints how far the software model is from it.",
        choices=(0, 1, 2),
        letters={"S": 1, "Q": 2},
    )
    comparesw: bool = declare(
        False,
        2018,
        "After each Run the software model and floating point run as well, and the differences are printed.",
        letters={"s": True},
    )
    breaklayer: int = declare(
        0,
        2020,
        "1 and 2: Init prints expected and modelled times of each layer and, with dumpdir, writes layers.csv there.",
        choices=(0, 1, 2),
        aliases=("profile",),
        letters={"L": 2, "z": 1},
    )
    initmeasure: bool = declare(False, 2020, "Init prints how long it took.", letters={"i": True})
    temporary_save: bool = declare(
        False, 2020, "Run writes its inputs and outputs to dumpdir: input0.npy, output0.npy, …", letters={"t": True}
    )
    dumpdir: str = declare("", 2022, "The folder of all files that flags make; by default the current one.")


def _unused(name: str, default: Value, since: Since, help: str, why: str, **details: Any) -> Flag:
    return Flag(default, since, help, warning=why, name=name, **details)


_UNUSED = (
    _unused("depthconvalgo", 3, 2020, "Loop orders for depthwise convolutions.", _SCHEDULE, choices=(0, 1, 2, 3)),
    _unused("paddingalgo", False, 2018, "Padding of convolutions without extra traffic.",
            "convolution instructions pad by themselves, with either value at no cost"),
    _unused("heterogeneous", True, 2022, "Layers that the device does not support run on the host.",
            "they do so always"),
    _unused("addroff", 0, 2020, "The first address that is used in the memory of a card.", _MEMORY,
            aliases=("addr_off",)),
    _unused("seed", 0, 2020, "Seed of random test data.", _TEST_DATA),
    _unused("rand", True, 2022, "Whether test data are random.", _TEST_DATA, letters={"d": False}),
    _unused("int8mode", 0, 2022, "Width of the integers on the device.",
            "the width follows from the ranges: 8 bits where the network, samples or a folder gives them",
            choices=(0, 1, 2, 3, 4)),
    _unused("has_varfp", False, 2020, "The card has variable fixed point.", _SCALES, letters={"v": True}),
    _unused("varfp", 0, 2020, "Fixed point by the layer.", _SCALES, choices=(0, 1, 2), letters={"V": 1}),
    _unused("quantize", "", 2020, "Samples to quantise with.",
            "give samples to Compile, or name them in TILEWRIGHT_CALIBRATION"),
    _unused("no_rearrange", 0, 2020, "Inputs and outputs in the order of the device, or as 16-bit integers.",
            "arrays are float32, plane by plane, with every value", choices=(0, 1, 2)),
    _unused("bufsmode", 2, 2022, "How the two buffers share a program.", _MEMORY, choices=(0, 1, 2)),
    _unused("two_programs", False, 2018, "A program for each buffer.", _MEMORY, letters={"T": True}),
    _unused("parametric_offset", False, 2020, "Programs whose addresses are relative.", _MEMORY, letters={"o": True}),
    _unused("progload", False, 2020, "Weights are loaded while the first layers run.", _LOADING, letters={"P": True}),
    _unused("hwwait", False, 2020, "A pause of a second before results are read.", _LOADING, letters={"w": True}),
    _unused("force_algo", False, 2020, "Forces convalgo on every layer.", _SCHEDULE, letters={"f": True}),
    _unused("compile_profile", False, 2020, "Tries the options and keeps the fastest.", _SCHEDULE, letters={"a": True}),
    _unused("optimize_computes", True, 2020, "Merges instructions that compute.", _SCHEDULE, letters={"n": False}),
    _unused("gen_loops", False, 2020, "Merges instructions into loops.",
            "the instruction set has no loops: an instruction covers a whole tile", letters={"l": True}),
    _unused("multicu_vpadding", False, 2020, "Vertical padding with several units.",
            "convolution instructions pad by themselves", letters={"M": True}),
    _unused("pipeline", False, 2020, "Layers pipelined across clusters.", "an image runs on one cluster",
            letters={"p": True}),
    _unused("prune", False, 2020, "Leaves out planes of zeros.", "planes are computed whatever they hold",
            letters={"x": True}),
    _unused("sandbox", False, 2020, "Takes instructions from a text file.", "Init runs a program from a file",
            letters={"B": True}),
    _unused("ignore_transpose", True, 2020, "Skips transpositions.",
            "transpositions are computed, or folded into what reads them"),
)  # fmt: skip
"""Flags that programs set and nothing here asks for."""

FLAGS = {each.name: each for each in (*vars(FlagValues).values(), *_UNUSED) if isinstance(each, Flag)}
"""Every flag by its name."""

BY_NAME = {name: each for each in FLAGS.values() for name in (each.name, *each.aliases)}
"""Every flag by its name and by its aliases."""

OPTION_LETTERS = {letter: (each, value) for each in FLAGS.values() for letter, value in each.letters.items()}
"""The letters of the flag ``options``: which flag each sets, and to what."""

DEBUG_LETTERS = {
    each.letter: each
    for each in (
        Letter("b", 2018, "The report of Compile, Init and Run: times, bytes, operations, expected against modelled."),
        Letter("w", 2018, "Warnings: numbers of inputs and weights that do not fit and are cut off."),
        Letter("c", 2018, "Addresses in the memory of the card."),
        Letter("n", 2018, "The layers."),
        Letter("s", 2018, "Where each layer runs, and why; the tiles of those on the device."),
        Letter("p", 2018, "How many instructions of each kind every layer takes."),
        Letter("d", 2018, "How long each unit of the cluster is busy, modelled; there are no debug registers."),
        Letter("R", 2018, "All results of both, where Run compares with the software model (options letter s)."),
        Letter("r", 2020, "Those results that differ, where Run compares."),
        Letter("i", 2018, "Writes the instructions as text to instr<card>_<cluster>_<program>.txt."),
        Letter("I", 2018, "The passes of the compiler and how long each took."),
        Letter("C", 2022, "The modelled work of each cluster."),
        Letter("Q", 2022, "The number format of each layer's result: width, scale, zero point."),
        Letter("J", 2022, "Writes where each layer runs to partition.json."),
        Letter("S", 2022, "Every instruction with its modelled start and end, in cycles."),
        Letter("a", 2022, "The loads and stores of each layer, in bytes."),
        Letter("t", 2020, "A trace while the device computes.", warning="letter S prints the modelled one"),
        Letter("T", 2020, "A verbose trace.", warning="letter S prints the modelled one"),
        Letter("o", 2020, "Details of the floating-point engine.", warning="tilewright inspect shows its steps"),
    )
}  # fmt: skip
"""The letters of the flag ``debug``."""


_LETTERS = {"debug": DEBUG_LETTERS, "options": OPTION_LETTERS}


class Flags(FlagValues):
    """The flags of an object, each an attribute of its name: ``flags.blockingmode``, ``flags.nclusters``.

    Flags that have no effect here take their values all the same, and say so once with a `FlagWarning` when they are
    set to another one than the default.

    Original: an unknown flag ended in ``Exception(-1)`` and nothing was said of flags that do nothing."""

    def __init__(self) -> None:
        self._restore_defaults()
        self._warned: set[str] = set()

    def set(
        self, name: str | bytes | Mapping[str, object], value: object = "", check: Callable[[str], None] | None = None
    ) -> None:
        """``SetFlag``: set one flag, or each of a mapping in its order; values are texts, numbers or truth values.
        ``check``: is given another ``bitfile`` than before, and raises where there is none such.
        Raises AcceleratorError: there is no such flag or letter, or it cannot have this value. Nothing is set then."""
        given: list[tuple[object, object]] = [*name.items()] if isinstance(name, Mapping) else [(name, value)]
        wanted = [(flag, flag.parse(its)) for flag, its in ((_find(each), its) for each, its in given)]
        bitfile = self.bitfile
        for flag, parsed in wanted:
            if flag.name in _LETTERS:
                _check_letters(flag.name, str(parsed))
            bitfile = {"bitfile": str(parsed), "reset": ""}.get(flag.name, bitfile)
        if check is not None and bitfile != self.bitfile:
            check(bitfile)
        for flag, parsed in wanted:
            if flag.name == "reset":
                self._restore_defaults()
            elif flag.name == "help":
                print(self.values_text() if parsed == "print_opt" else help_text())
            else:
                self._set(flag, parsed)

    def get(self, name: str) -> Value:
        """The value of a flag by its name or an alias. Raises AcceleratorError: there is no such flag."""
        value = getattr(self, _find(name).name)
        assert isinstance(value, (int, str))
        return value

    def values_text(self) -> str:
        """A line ``name = value`` for each flag."""
        return "\n".join(f"{name} = {_plain(self.get(name))}" for name in FLAGS)

    def _restore_defaults(self) -> None:
        """Set every flag back to its default; what has been warned of is not said again."""
        for flag in FLAGS.values():
            setattr(self, flag.name, flag.default)

    def _set(self, flag: Flag, value: Value) -> None:
        if flag.name == "options":
            for letter in str(value):
                self._set(*OPTION_LETTERS[letter])
        elif flag.name == "debug":
            for letter in map(DEBUG_LETTERS.__getitem__, str(value)):
                self._warn(f"debug letter {letter.letter!r}", letter.warning)
        elif value != flag.default:
            self._warn(f"flag {flag.name!r}", flag.warning)
        setattr(self, flag.name, value)

    def _warn(self, what: str, why: str) -> None:
        if why and what not in self._warned:
            self._warned.add(what)
            warn(f"{what} has no effect here: {why}", FlagWarning)


def _check_letters(name: str, letters: str) -> None:
    known = _LETTERS[name]
    unknown = next((letter for letter in letters if letter not in known), None)
    if unknown is not None:
        expected = f"letters of {''.join(known)}"
        raise AcceleratorError(f"{name!r} has no such letter", stage="SetFlag", expected=expected, found=repr(unknown))


def _find(name: object) -> Flag:
    text = plain_text(name)
    flag = BY_NAME.get(text) if isinstance(text, str) else None
    if flag is None:
        hint = similar(str(text), BY_NAME) or "SetFlag('help') prints the flags."
        raise AcceleratorError("there is no such flag", stage="SetFlag", found=f"{text!r:.60}", hint=hint)
    return flag


def _plain(value: Value) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def help_text() -> str:
    """What ``SetFlag('help')`` prints: every flag and letter with what it does."""
    lines = []
    for flag in FLAGS.values():
        names = ", ".join((flag.name, *flag.aliases))
        letters = "".join(f", letter {letter} = {_plain(value)}" for letter, value in flag.letters.items())
        without = f" No effect here: {flag.warning}." if flag.warning else ""
        lines.append(
            f"{names} ({flag.values}; default {_plain(flag.default) or 'none'}{letters}): {flag.help}{without}"
        )
    lines.append("letters of debug:")
    for letter in DEBUG_LETTERS.values():
        without = f" Nothing here: {letter.warning}." if letter.warning else ""
        lines.append(f"  {letter.letter}: {letter.help}{without}")
    return "\n".join(lines)
