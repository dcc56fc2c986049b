"""Which costs the cycle model can leave out, and how its traces are divided; a module of its own, so that help does not
wait for the model."""

COSTS = {
    "bank-conflicts": "units wait for lines of maps that lie in one bank",
    "port-stalls": "units wait for ports of the scratchpads",
    "port-contention": "the vector unit and moves wait for others at a port of the maps",
    "row-openings": "the DRAM opens rows that do not lie open",
    "turnaround": "the DRAM changes from reading to writing or back",
    "instruction-fetch": "instructions come from DRAM",
    "card-link": "maps cross from card to card",
    "synchronisation": "counters take time until they are seen and compared",
    "queue-depth": "instructions are fetched no further ahead than queues have room",
}
"""What each is, by name."""

BESIDE = {
    "host-link": "inputs and outputs pass between the host and the card",
    "host-stages": "operators run on this CPU, which is measured by running them",
}
"""What is reported beside the device's time and can be left out of the report, by name."""

LAYERS, INSTRUCTIONS = "layers", "instructions"
DETAILS = {
    INSTRUCTIONS: "each instruction of a unit is a slice",
    LAYERS: "those for one layer that follow each other are one",
}
"""How finely a trace is divided, by name; the first by default."""
