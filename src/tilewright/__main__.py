"""``python -m tilewright`` and the ``tilewright`` command."""

import os
import sys

import tilewright


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, by default on the arguments of the process; the exit code."""
    if arguments is None and sys.argv[1:2] == ["run"]:
        # Read where NumPy is imported: threads of OpenBLAS that have nothing to do would spin for a tenth of a second,
        # on a processor that this has work for. Not for processes of programs that call this.
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    try:
        from tilewright.runtime.commands import main as commands
    except KeyboardInterrupt:
        # What tells of it otherwise, and handles signals, is not there yet.
        sys.stderr.write("error: interrupted\n")
        return 130
    return commands.main(sys.argv[1:] if arguments is None else arguments, tilewright.__version__)


if __name__ == "__main__":
    sys.exit(main())
