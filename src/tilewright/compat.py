"""``python -m tilewright.compat SCRIPT ARGUMENTS…``: run a program that was written for another inference SDK."""

import sys
from typing import NoReturn

from tilewright.runtime.api.compat.imports import BOUND, STDIN, bind, read_script, run_script

HELP = """\
Usage: python -m tilewright.compat SCRIPT [ARGUMENTS...]

Run a Python program that was written for another inference SDK, unedited, on Tilewright.

SCRIPT runs as `python SCRIPT ARGUMENTS...` would run it, `-` for standard input. What it imports as
  {names}
comes from Tilewright, wherever else such a module may lie; `openvino` otherwise stays what is installed. NumPy gets
the names back that old programs use, such as `np.int`.

A program that gives no samples to calibrate with may be given them from outside, or a network runs in floating point:

  TILEWRIGHT_CALIBRATION=FOLDER.or.npz python -m tilewright.compat SCRIPT

Child processes that `multiprocessing` starts run the same way; other commands that the program starts do not.
A module (`python -m`) is run by giving its file. docs/api/README.md tells what each API does here.
"""


def main() -> None:
    """Run the command line of this process."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        top = sorted(name for name in BOUND if not any(name.startswith(f"{other}.") for other in BOUND))
        print(HELP.format(names=", ".join(top)), end="")
        return
    if not arguments:
        _refuse("no script was given")
    script = arguments[0]
    if script.startswith("-") and script != STDIN:
        _refuse(f"no such option {script!r}; options of Python go before -m, those of the script behind it")
    try:
        program = read_script(script)
    except IsADirectoryError:
        _refuse(f"{script!r} is a folder; give the script in it")
    except OSError as error:
        _refuse(f"can't open {script!r}: {error.strerror}")
    bind()
    run_script(program, arguments[1:])


def _refuse(what: str) -> NoReturn:
    sys.stderr.write(f"tilewright.compat: {what}. See `python -m tilewright.compat --help`.\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
