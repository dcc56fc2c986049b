"""``python -m tilewright`` and the ``tilewright`` command."""

from __future__ import annotations

import importlib
import sys


def main() -> int:
    """Run the command line; the exit code. Says what to install where only the runtime is there."""
    try:
        cli = importlib.import_module("tilewright.compiler.cli")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("tilewright"):
            raise
        sys.stderr.write(
            f"error: the command line needs the package {error.name!r}, which the runtime alone does not install. "
            "Install Tilewright with its extra 'all': pip install 'tilewright[all]'\n"
        )
        return 1
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
