"""Which costs the cycle model can leave out; a module of its own, so that help does not wait for the model."""

from __future__ import annotations

COSTS = {
    "bank-conflicts": "the array waits for lines of maps that lie in one bank",
    "port-stalls": "units wait for ports of the scratchpads",
    "row-openings": "the DRAM opens the row of a run",
    "turnaround": "the DRAM changes from reading to writing or back",
    "instruction-fetch": "instructions come from DRAM",
    "queue-depth": "instructions are fetched no further ahead than queues have room",
}
"""What each is, by name."""
