"""All flags that ``SetFlag`` takes, in one table: names, values, effects, and what has none here."""

from __future__ import annotations

from dataclasses import dataclass

from .flag import Letter, flag, flags_of

_MEMORY = "a run has memory of its own, so that no program is patched or kept twice"
_SCHEDULE = "the tile search already chooses the order of each layer by its modelled cost"
_LOADING = "a network is in memory when Init returns"
_SCALES = "a tensor has its own scale wherever ranges are known, and none where they are not"


@dataclass(eq=False)
class FlagValues:
    """The value of each flag; the declarations say what it means and what else it may be."""

    debug: str = flag(
        "w", 2018, "What is printed: letters of the table below, one after the other; the empty text is silent."
    )
    options: str = flag("", 2018, "Letters, each of which sets one of the flags here.")
    help: str = flag("", 2020, "Prints the flags and what they do; with the value print_opt their values as they are.")
    reset: str = flag("", 2022, "Sets every flag back to its default.")

    bitfile: str = flag(
        "", 2020, "Path or name of the description of the machine that stands for the card; it is read at once."
    )
    fpgaid: str = flag(
        "-1",
        2020,
        "sim runs the instructions in the simulator of the instruction set; with any other value the same integers are "
        "computed by kernels of the host. -1 and the names of boards all mean the next free virtual card.",
        choices=("-1", "510", "511", "852", "sim"),
    )
    nfpgas: int = flag(1, 2018, "How many cards a batch is divided among.", minimum=1)
    nclusters: int = flag(1, 2018, "How many clusters of each card are used.", minimum=1)
    firstcluster: int = flag(0, 2020, "The first cluster of those that are used.")
    imgs_per_cluster: int = flag(1, 2018, "How many images each cluster takes at once.", minimum=1)
    clustersbatchmode: int = flag(
        0,
        2018,
        "1: the clusters of a card work on one image together. 0: each has its own.",
        choices=(0, 1),
        aliases=("nobatch", "clusterbatchmode"),
        letters={"C": 1},
    )
    mvbatch: bool = flag(
        False,
        2020,
        "Demands that imgs_per_cluster is a multiple of 4, one image for each unit of a cluster; results are the same.",
        letters={"m": True},
    )
    blockingmode: bool = flag(
        True, 2018, "1: PutInput and GetResult wait. 0: they return at once and say that they would have to."
    )

    convalgo: int = flag(
        0,
        2018,
        "What convolutions keep in the scratchpad: 0 whichever costs less for the layer, 1 and 3 the weights, 2 the "
        "feature map.",
        choices=(0, 1, 2, 3),
        letters={"k": 1, "r": 2, "K": 3},
    )
    depthconvalgo: int = flag(
        3, 2020, "Loop orders for depthwise convolutions.", choices=(0, 1, 2, 3), warning=_SCHEDULE
    )
    paddingalgo: bool = flag(
        False,
        2018,
        "Padding of convolutions without extra traffic.",
        warning="convolution instructions pad by themselves, with either value at no cost",
    )
    hwlinear: bool = flag(
        True,
        2018,
        "0 keeps fully connected layers in floating point on the host, which is slower and more precise; networks that "
        "come quantised stay as they are.",
        letters={"H": True},
    )
    max_instr: int = flag(
        0,
        2018,
        "Compile refuses networks whose device program has more instructions; 0 is no limit.",
        aliases=("max_instruction_size",),
    )
    nlayers: int = flag(-1, 2020, "Only the first so many layers are compiled; 0 and -1 are all.", minimum=-1)
    lremove: int = flag(0, 2020, "So many layers at the end are left out.", aliases=("remove",))
    heterogeneous: bool = flag(
        True,
        2022,
        "Layers that the device does not support run on the host.",
        warning="they do so always",
    )
    runsw: int = flag(
        0,
        2022,
        "What Run computes with: 0 the accelerator, 1 its software model, 2 floating point, which then "
        "prints how far the software model is from it.",
        choices=(0, 1, 2),
        letters={"S": 1, "Q": 2},
    )
    comparesw: bool = flag(
        False,
        2018,
        "After each Run the software model and floating point run as well, and the differences are printed.",
        letters={"s": True},
    )
    breaklayer: int = flag(
        0,
        2020,
        "1 and 2: Init prints expected and modelled times of each layer and, with dumpdir, writes layers.csv there.",
        choices=(0, 1, 2),
        aliases=("profile",),
        letters={"L": 2, "z": 1},
    )
    initmeasure: bool = flag(False, 2020, "Init prints how long it took.", letters={"i": True})
    temporary_save: bool = flag(
        False,
        2020,
        "Run writes its inputs and outputs to dumpdir: input0.npy, output0.npy, …",
        letters={"t": True},
    )
    dumpdir: str = flag("", 2022, "The folder of all files that flags make; by default the current one.")
    addroff: int = flag(
        0, 2020, "The first address that Malloc gives out in the memory of a card.", aliases=("addr_off",)
    )
    seed: int = flag(0, 2020, "Seed of the random numbers that ReadCode fills inputs with.")
    rand: bool = flag(True, 2022, "Whether those numbers are random; otherwise they count up.", letters={"d": False})

    int8mode: int = flag(
        0,
        2022,
        "Width of the integers on the device.",
        choices=(0, 1, 2, 3, 4),
        warning="the width follows from the ranges: 8 bits where the network, samples or a folder gives them",
    )
    has_varfp: bool = flag(False, 2020, "The card has variable fixed point.", letters={"v": True}, warning=_SCALES)
    varfp: int = flag(0, 2020, "Fixed point by the layer.", choices=(0, 1, 2), letters={"V": 1}, warning=_SCALES)
    quantize: str = flag(
        "", 2020, "Samples to quantise with.", warning="give samples to Compile, or name them in TILEWRIGHT_CALIBRATION"
    )
    no_rearrange: int = flag(
        0,
        2020,
        "Inputs and outputs in the order of the device, or as 16-bit integers.",
        choices=(0, 1, 2),
        warning="arrays are float32, plane by plane, with every value",
    )
    bufsmode: int = flag(
        2,
        2022,
        "How the two buffers share a program.",
        choices=(0, 1, 2),
        warning=_MEMORY,
    )
    two_programs: bool = flag(False, 2018, "A program for each buffer.", letters={"T": True}, warning=_MEMORY)
    parametric_offset: bool = flag(
        False, 2020, "Programs whose addresses are relative.", letters={"o": True}, warning=_MEMORY
    )
    progload: bool = flag(
        False, 2020, "Weights are loaded while the first layers run.", letters={"P": True}, warning=_LOADING
    )
    hwwait: bool = flag(
        False, 2020, "A pause of a second before results are read.", letters={"w": True}, warning=_LOADING
    )
    force_algo: bool = flag(False, 2020, "Forces convalgo on every layer.", letters={"f": True}, warning=_SCHEDULE)
    compile_profile: bool = flag(
        False, 2020, "Tries the options and keeps the fastest.", letters={"a": True}, warning=_SCHEDULE
    )
    optimize_computes: bool = flag(
        True, 2020, "Merges instructions that compute.", letters={"n": False}, warning=_SCHEDULE
    )
    gen_loops: bool = flag(
        False,
        2020,
        "Merges instructions into loops.",
        letters={"l": True},
        warning="the instruction set has no loops: an instruction covers a whole tile",
    )
    multicu_vpadding: bool = flag(
        False,
        2020,
        "Vertical padding with several units.",
        letters={"M": True},
        warning="convolution instructions pad by themselves",
    )
    pipeline: bool = flag(
        False,
        2020,
        "Layers pipelined across clusters.",
        letters={"p": True},
        warning="an image runs on one cluster",
    )
    prune: bool = flag(
        False,
        2020,
        "Leaves out planes of zeros.",
        letters={"x": True},
        warning="planes are computed whatever they hold",
    )
    sandbox: bool = flag(
        False,
        2020,
        "Takes instructions from a text file.",
        letters={"B": True},
        warning="ReadCode and HwRun run a program from a file",
    )
    ignore_transpose: bool = flag(
        True, 2020, "Skips transpositions.", warning="transpositions are computed, or folded into what reads them"
    )


FLAGS = flags_of(FlagValues)
"""Every flag by its name."""

BY_NAME = {name: each for each in FLAGS.values() for name in (each.name, *each.aliases)}
"""Every flag by its name and by its aliases."""

OPTION_LETTERS = {letter: (each, value) for each in FLAGS.values() for letter, value in each.letters.items()}
"""The letters of the flag ``options``: which flag each sets, and to what."""

DEBUG_LETTERS = {
    each.letter: each
    for each in (
        Letter("b", 2018, "The report of Compile, Init and Run: times, bytes, operations, expected against modelled."),
        Letter("w", 2018, "Warnings: numbers of inputs, weights and training that do not fit and are cut off."),
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
