"""The command line: the frame in which all commands stand, and the commands of the runtime.

Each command is a module of its name in the folder ``commands`` of the part of Tilewright that it belongs to, with

- a docstring, which is its help: what it does, in one line; then, after empty lines, more about it, and examples;
- ``add_arguments(parser: argparse.ArgumentParser) -> None``, to which the frame adds what all commands take;
- ``run(arguments: argparse.Namespace) -> str | …``: what goes to stdout, a text; or with ``--json`` what it found, of
  the types that it is declared with, of which the document of the schemas is made. Whatever is wrong, the arguments
  or what they name, it raises as a TilewrightError, and the frame shows it.

The frame, and whatever a command is declared with, need the standard library only: modules import what does the work
where they do it. So help, and what is said about wrong words, wait neither for NumPy nor for the compiler.
"""

GROUPS = {
    "Make": {"compile": "compiler", "quantize": "compiler", "export": "compiler", "demo": "compiler"},
    "Run and measure": {
        "run": "runtime",
        "serve": "runtime.serving",
        "classify": "runtime.api",
        "power": "runtime.api",
        "simulate": "runtime",
        "compare": "runtime.api",
        "bench": "compiler",
        "sweep": "compiler",
        "batch": "runtime.api",
        "report": "compiler",
    },
    "Look into": {
        "inspect": "runtime",
        "graph": "compiler",
        "machine": "runtime",
        "opt": "compiler",
        "reduce": "compiler",
    },
    "Trust": dict.fromkeys(("verify", "sign", "key"), "runtime"),
}
"""The commands in the order in which help lists them, and the part of Tilewright that each belongs to."""

COMMANDS = {name: part for commands in GROUPS.values() for name, part in commands.items()}
"""The same without groups."""
