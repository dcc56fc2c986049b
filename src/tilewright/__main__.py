"""``python -m tilewright`` and the ``tilewright`` command."""

import sys

import tilewright
from tilewright.runtime.commands import main as commands


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, by default on the arguments of the process; the exit code."""
    return commands.main(sys.argv[1:] if arguments is None else arguments, tilewright.__version__)


if __name__ == "__main__":
    sys.exit(main())
