"""The instruction set as Markdown, made from the table."""

from __future__ import annotations

import inspect
import textwrap

from tilewright.runtime.isa.encoding import (
    FLAG_END,
    FLAG_START,
    HEADER_BITS,
    INSTRUCTION_BYTES,
    WAITS,
    EncodedField,
    Instruction,
    Queue,
    encoded_fields,
    table,
)
from tilewright.runtime.machines.banks import PIECES_AT_ONCE
from tilewright.runtime.machines.machine import CARD_LIMIT, CLUSTER_LIMIT, LINE_BYTES

HEADER = (
    ("opcode", 6, 0, "which instruction"),
    ("dtype", 2, 6, "data type: 0 is int8, others are reserved"),
    ("signal", 1, 8, "raise the counter of the stream by one on completion"),
    ("flags", FLAG_END - FLAG_START, FLAG_START, "flags of the instruction"),
    *(
        entry
        for index in range(WAITS)
        for entry in (
            (f"waits[{index}].counter", 8, 32 + 32 * index, "counter of a wait; 0 is no wait, and none after it"),
            (f"waits[{index}].value", 24, 40 + 32 * index, "value that the counter must reach"),
        )
    ),
)

_PROSE = f"""\
# Instruction set

Made from the instruction table by `python tools/make_documents.py isa`; do not edit.

## Machine model

A card has DRAM and up to {CLUSTER_LIMIT} clusters. A cluster has five units, each with an in-order queue: LD (loads of
maps), LW (loads of weights and parameters, weights also from maps), ST (stores), MAC (matrix array), VEC (vector
unit). A queue of a cluster is a stream, named by both: MAC0 is that of cluster 0. A unit works on one instruction at a
time, in order. An instruction *starts* when it is set up, its waits are satisfied, and the one before it in its stream
has taken its last step, or its last byte has passed the DRAM. It is *complete* some cycles after its own last step or
byte (`mac_drain`, `vector_drain`, `dram_latency`): then all its writes are visible and it reads nothing any more.
Instructions of a stream are complete in order, and one finds what those before it in its stream wrote: sums are added
to accumulators in the last stage, bytes pass the DRAM in order, and a vector instruction that reads maps, which is any
but RQ, and RQW without `sum`, starts when the one before it is complete. When it starts one, a unit begins to set up
the next: it decodes its fields and computes addresses and steps, but touches no memory. Instructions keep no
state; everything that one needs is in its fields and in the memories. There are no branches. The last instruction of
every stream is END. A program uses clusters 0, 1, … up to some number, and has all five streams of each.

| memory | of | what it holds | address unit of fields | who reads | who writes |
|---|---|---|---|---|---|
| DRAM | card | up to 16 regions: constants, inputs, outputs, scratch | 1 B or 64 B | LD, LW, ST (SND) | ST, LD (RCV) |
| maps | cluster | feature maps, int8 | 16 B | LW, ST, MAC, VEC | LD, VEC; of another cluster, ST and LD |
| weights | cluster | weights, int8 | 64 B | MAC | LW of any cluster |
| accumulators | cluster | int32 | 64 B (16 of them) | MAC, VEC | MAC |
| parameters | cluster | bias, multipliers, records, tables | 64 B | VEC | LW of any cluster |

Up to {CARD_LIMIT} cards run together, each a program of its own; among themselves they are counted from 0. What a card
has no other touches, but for the messages that it sends to others with SND and that they receive with RCV, from DRAM to
DRAM.

## Synchronisation

Every stream has a counter, which is 0 at the start and which nothing else raises: that of queue q of cluster c is
number 1 + {len(Queue)} * c + q, where q is 0 to {len(Queue) - 1} in the order of the units above. An instruction with
`signal` raises it by one when it is complete, which all units of the card see `timing.signal` cycles later. A wait is
satisfied when its counter has reached its value; the instruction starts `timing.wait` cycles after the last of its
waits is, of which it has up to {WAITS}, for any streams of the card. Waits that were satisfied that long ago take no
time: they are compared while the instruction is set up. Counters do not wrap. A program is refused unless it is proved
that its waits can be satisfied, and that instructions of different streams that touch the same bytes, at least one of
them writing, are ordered. Which bytes an access touches is exact: boxes that interleave, as blocks of channels of one
map do, are not in conflict. A program is also refused if it reads bytes of a scratchpad, of scratch or of an output
that nothing before has written; this holds for the lanes that fill the last block of 16 channels too, which loads fill
or stores wrote.

A counter is that of a card, and no instruction waits for one of another: what orders cards are messages. A SND waits,
beside what its own waits say, for all that its RCV waits for and for what is before that in its stream; the RCV is
complete after it. Programs that run together are proved together: a SND without its RCV, or a RCV without its SND, is
refused, and so is a circle of waits over cards.

`Assembler` adds instructions in program order and finds waits and signals itself.

## Values

Activations are int8. A uint8 tensor with zero point z is held as int8 with zero point z - 128, each value 128 less;
loads and stores convert with `flip`. Weights are int8 with a zero point `weight_zero`, usually 0; uint8 weights are
held 128 less as well. Accumulators are int32 and wrap; the compiler proves that they do not.

Rounding is to nearest, ties to even. *binary32* is IEEE 754 single precision; `binary32(x)` rounds x to it. In
integers, `binary32(binary32(a) * m)` is: keep 24 significant bits of a, multiply by the 24-bit mantissa of m, keep 24
significant bits of the product. `round_shift(v, s)` is v / 2^s, rounded.

## Layouts

**Feature map in the maps scratchpad.** Element (y, x, c) is at `start + y * row_pitch + x * pixel_pitch + c`; pitches
are multiples of 16 bytes, and channels come in blocks of 16 that are contiguous. Lanes past the last channel are
written but hold anything; weights and parameters make them harmless. In packed mode (CONV only) the pixel pitch is the
number of channels in bytes, without padding.

**Feature map in DRAM.** Loads and stores move runs of bytes with any start, length and stride. By convention a map
is stored as [row][column][channel], channels padded to 16; a run is then a pixel, or a whole row.

**Accumulators.** CONV and DWC write [output row][output column][output channel], channels padded to 16, without
gaps; RQ and RQA read the same.

**Dense weights** (CONV, MVW; `pack_dense`). [output block of 16][window][16 output channels], int8. A window is [kernel
row][kernel column][input channel], padded to a multiple of 16 entries; what the padding holds is not used. Input
channels are padded to 16 with `weight_zero` except in packed mode.

**Depthwise weights** (DWC; `pack_depthwise`). [block of 16][kernel row][kernel column][channel of a group][16
channels], int8; every block starts on a multiple of 64 bytes.

**Requantise parameters** (RQ, RQA, RQM; `pack_requantize`). For every block of 16 channels 128 bytes: 16 int32 biases,
then 16 binary32 multipliers, finite and not negative. For a convolution, bias = b - zero_x * sum of (w - weight_zero)
over the window, and multiplier = binary32(binary32(scale_x * scale_w) / scale_y).

**Normalisation parameters** (NRM; `pack_normalization`). For every block of 16 channels 192 bytes: 16 int16 multipliers
of the map, 16 of the one that is added, then 16 binary32 gains and 16 binary32 offsets, finite.

**Vector record** (POOL, ELT; `pack_record`). 64 bytes, little-endian words: 0 `zero_a`, 1 `zero_b`, 2 `zero_output`,
3 `offset`, 4 `multiplier_a`, 5 `multiplier_b`, 6 `shift` (int32); 7 `scale_a`, 8 `scale_output`, 9 `multiplier`
(binary32); the rest is 0. Where `zero_output` is added in binary32 before rounding (average, multiply), it is the zero
point of the tensor's own type, and `offset` is -128 if that is uint8, else 0.

Requantise and normalisation parameters and records are loaded at once, from a constant region: what scales is looked at
before a program runs, and one whose multipliers or scales are not finite, negative but for gains and offsets, or divide
and are 0, is refused.

**Table** (LUT; `pack_table`). 256 int8; the entry for value v is byte v + 128. With `wide` 720 int32.

## Banks and ports

Nothing here changes a result; it is what modelled times rest on. Scratchpads are made of banks (`maps_banks`,
`weight_banks`, `accumulator_banks`), each of which reads or writes a line of {LINE_BYTES} bytes a cycle at each of two
ports: one is the array's, the other is shared by all other units. Line n of the maps is in bank
`(n + 5 * (n // maps_banks)) mod maps_banks`: skewed, so that pixels or rows which are a multiple of all banks apart do
not meet in one.

The array takes `pixel_lanes` output pixels at a time, in raster order and across the ends of rows. It has two sets of
line registers: while it works on one, the lines for the next trace are fetched into the other, a line that several
pixels need once. A trace is the run of input channels that a pixel is multiplied by at a tap, `input_lanes` of them in
a step. In packed mode it is the whole window: the pieces of all kernel rows, one behind the other, so that a step takes
the last bytes of one row and the first of the next. Line registers give each pixel bytes of {PIECES_AT_ONCE} rows in
a cycle, each shifted to its place; where rows are so short that a step has bytes of more, it takes several cycles.
Bytes of rows and columns outside the map are replaced by `pad_value` on their way and take the same time. Rows whose
lines do not fit `line_registers` together are fetched one after the other.

DWC takes `depthwise_taps` products of an output in a step: taps, and at each the channels of its `group`. Sums come in
pieces of four products. Those that are of more products than a step takes follow each other without a gap, a group of
output channels after the other: a step may have the last pieces of one sum and the first of the next. Each group of
pixels begins with a step of its own, and so does every sum if `depthwise_taps` is no multiple of four. Of the line
registers DWC takes the two sets as one: lines that a group of pixels has in common with the one before in its row stay,
and only the others are fetched for it. It does so for all blocks of channels if the lines of all taps of two groups
that follow each other fit both sets, otherwise for equal parts of the blocks, one part for all pixels after the other.

Channels at the end of the last block that an instruction leaves out (`unused`) take no lanes of outputs. Where those
that are left fill no more than half of `output_lanes`, the other half takes as many further pixels, if the maps give as
many bytes in a cycle. With `skipped` a part of a block is made alone in the same way, by the lanes that take the first
half of a block, or where half of `output_lanes` are four or fewer the first quarter. For a block of eight channels or
fewer, half of the vector unit's lanes take another pixel in RQ.

The shared port passes, in a cycle, lines of one map for one unit, at most one of each bank. Units gather as many lines
as there are banks before they read or write them, so a map whose pixels lie without gaps passes `maps_banks` lines a
cycle, and one whose pixels are far apart as many as lie in different banks. The vector unit takes the elements of a map
in the order in which they lie, those of a window tap by tap; where its maps take more cycles of the port than it has
steps, it waits. Loads and stores pass first, since the DRAM does not wait for them; moves from cluster to cluster and
from maps to weights, and after them the vector unit, take what is left: an instruction takes as long as its own cycles
of the port and those of others meanwhile, if these are more than it works.

The array waits where the fullest bank has more lines to give than there are steps. Weights are read in every step, so a
machine whose weight banks, or whose maps banks, give less than the array multiplies in a cycle is refused. Sums leave
the array, and enter it with `accumulate`, once an instruction, through the array's port of the accumulators.

## DRAM

The DRAM serves one request after the other: transfers, and the instructions of each stream, `fetch_instructions` at a
time and as far ahead as its queue has room (`queue_depth`). The order of the requests is a property of the program: of
those that wait on the machine that it was compiled for, one whose layer comes first goes first, and of these the one
that has most of the program waiting for it. A request moves whole bursts and turns the bus where reads and writes meet.
It opens a row (`dram_row_bytes`) for every run that begins in one which does not lie open; rows that a run goes on into
are opened ahead of it. Each of `dram_banks` banks keeps its row open until another one of it is reached; rows that
follow each other lie in banks that do. Regions lie one behind the other, each from a row of its own on, and behind them
the instructions in the order in which they are fetched, as what changes from one to the next of a stream: a word whose
bit i says whether word i of 32 bits is another one than in the instruction ahead, then these words. Ahead of the first
instruction all words are 0. Each fetch begins at a burst.

## Link

Any two cards have a link each way of `link_bytes_per_second`. A message is on it from when the DRAM of its sender
begins to read it, for as long as its bytes take on the link or in that DRAM, whatever is slower; messages that one card
sends another follow each other. A card learns `link_latency` cycles later what it waits for of another: that a message
has left, which it then writes to its own DRAM, or that there is room for one.

## Encoding

An instruction is {INSTRUCTION_BYTES} bytes, little-endian. Bits 0 to {HEADER_BITS - 1} are common:
"""


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def _range(shift: int, width: int) -> str:
    return str(shift) if width == 1 else f"{shift}–{shift + width - 1}"


def _row(field: EncodedField) -> tuple[str, ...]:
    declared = field.bits
    values = f"{declared.lowest} … {declared.highest}"
    return (f"`{field.name}`", _range(field.shift, declared.width), declared.unit, values, declared.doc)


def _section(cls: type[Instruction]) -> str:
    title, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n")
    queues = ", ".join(queue.name for queue in cls.QUEUES)
    lines = [
        f"### {cls.MNEMONIC}: {title.rstrip('.')}",
        "",
        f"Opcode {cls.OPCODE}, queue {queues}, class `{cls.__name__}`.",
    ]
    if rest.strip():
        lines += ["", rest.strip()]
    encoded = encoded_fields(cls)
    if encoded:
        lines += ["", _table([("field", "bits", "unit", "values", "meaning"), *map(_row, encoded)])]
    return "\n".join(lines)


def document() -> str:
    """The whole document."""
    header = [("field", "bits", "meaning")]
    header += [(f"`{name}`", _range(shift, width), doc) for name, width, shift, doc in HEADER]
    overview = [("opcode", "mnemonic", "queue", "what it does")]
    for cls in table():
        first = inspect.cleandoc(cls.__doc__ or "").split("\n")[0]
        overview.append((str(cls.OPCODE), cls.MNEMONIC, ", ".join(queue.name for queue in cls.QUEUES), first))
    rest = textwrap.dedent(
        f"""
        The body starts at bit {HEADER_BITS}. Bits without a field are reserved and must be 0; opcodes without an
        instruction and data types other than 0 are refused.

        ## Instructions
        """
    )
    sections = "\n\n".join(_section(cls) for cls in table())
    return f"{_PROSE}\n{_table(header)}\n{rest}\n{_table(overview)}\n\n{sections}\n"
