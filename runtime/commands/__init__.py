"""The command line of the runtime, which needs NumPy and the standard library only.

Each command is a module of this package with

- ``HELP``: what it does, in one line; then an empty line and examples;
- ``add_arguments(parser: argparse.ArgumentParser) -> None``, to which the frame adds ``--json`` and ``--help``;
- ``run(arguments: argparse.Namespace) -> str``: what goes to stdout.

Modules import what they need where they need it, so that the help of one command does not wait for NumPy.
"""

COMMANDS = ("run", "classify", "power", "inspect", "simulate", "compare", "verify", "sign", "key")
"""The commands, in the order in which help lists them."""

OF_THE_COMPILER = {
    "compile": "Compile a model, ONNX or IR of the Inference Engine, into an artifact.",
    "opt": "Run single passes, for work on the compiler.",
    "export": "Write a network as an ONNX model or as IR for other tools.",
    "demo": "Compile and run a network for handwritten digits.",
}
"""The commands of the compiler, for help where it is not installed."""
