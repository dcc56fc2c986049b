"""The page on machine files: their fields, as the code declares them."""

from __future__ import annotations

from tilewright.runtime.machines.machine import FORMAT_VERSION
from tilewright.runtime.report.machines import field_table

_HEAD = f"""# Machine files

Made by `python tools/make_documents.py machine_file` from `runtime/machines/machine.py`; `tilewright machine explain`
prints the same table. [machines.md](machines.md) tells how to write a file and how to compare machines.

A machine file is a JSON object with `format` ({FORMAT_VERSION}), `name`, and a number for each field below; those with
a dot stand in the objects `timing` and `energy`, the latter of which may be missing. A number may be written as
`{{"value": 9, "origin": "where it comes from"}}`.

Kinds: a *build* is a fact of the hardware; a *time* is an assumption of the cycle model, which changes no result, but
schedules; an *energy* is one of the energy model. An artifact is for a machine with the same numbers of the first two
kinds. *Reducible* is what a schedule may be made for less of, where that is faster.

"""

_RULES = """
Rules between fields: lanes are powers of two, and so are `dram_burst_bytes` and `dram_row_bytes`; scratchpads divide
into their banks in lines of 64 bytes; banks, each of which gives 64 bytes a cycle, feed the array, which takes
`pixel_lanes` x `input_lanes` bytes of maps and `input_lanes` x `output_lanes` of weights; `depthwise_taps` is at most
`input_lanes`; the feature-map scratchpads of a card have at most 64 MiB together, and its DRAM holds more than all its
scratchpads. What breaks a rule is refused, with the field and what was expected.
"""


def document() -> str:
    """Its text."""
    return _HEAD + field_table().markdown() + _RULES
