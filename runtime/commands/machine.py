"""Show the accelerators that networks are compiled for.

  list              The samples that come with Tilewright; the default.
  show MACHINE      Every number of one, with its unit and its origin: a sample by
                    its name, or the path of a machine file.
  explain [FIELD]   What a machine file says: every field, what it means and what
                    it may be.

Examples:
  tilewright machine list
  tilewright machine show m4096
  tilewright machine explain maps_bytes
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from tilewright.errors import UsageError

if TYPE_CHECKING:
    from ..report.table import Records, Table

_ACTIONS = ("list", "show", "explain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="list", choices=_ACTIONS, metavar="ACTION", help=f"{', '.join(_ACTIONS)}."
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="The machine to show, or the field to explain.")


def run(arguments: argparse.Namespace) -> str | Records:
    from ..report import machines

    name: str | None = arguments.name
    if arguments.action != "explain" and (name is None) == (arguments.action == "show"):
        wanted = "the name of a machine" if name is None else "no further argument"
        hint = "See `tilewright machine --help`."
        raise UsageError(f"machine {arguments.action} takes {wanted}", found=name and repr(name), hint=hint)
    tables: dict[str, Callable[[], Table]] = {
        "list": machines.sample_table,
        "show": lambda: machines.machine_table(name or ""),
        "explain": lambda: machines.field_table([name] if name else ()),
    }
    table = tables[arguments.action]()
    return table.records() if arguments.json else table.text()
