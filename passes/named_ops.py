"""The ops that users mean by the names of nodes and tensors."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from tilewright.errors import PassError

from ..ir.core import Op


def find_named(
    ops: Iterable[Op], names: Collection[str], what: str, stage: str, kinds: Collection[str] = ()
) -> dict[str, list[Op]]:
    """The ops that each name stands for: those from a source node, or with a result, of this name.

    Args:
        what, stage: what has the names, and the pass that is to use them, for the message.
        kinds: names of operators that may be given, too, for all their ops, be there any or not.

    Raises:
        PassError: a name stands for none.
    """
    by_name: dict[str, list[Op]] = {kind: [] for kind in kinds}
    for op in ops:
        own = (*op.loc, *(value.name for value in op.results), *([op.name] if op.name in kinds else []))
        for name in dict.fromkeys(own):
            by_name.setdefault(name, []).append(op)
    unknown = [name for name in names if name not in by_name]
    if unknown:
        shown, more = unknown[:5], len(unknown[5:])
        near = {name: difflib.get_close_matches(name, by_name, 3) for name in shown}
        hints = [f"{name!r} is like {', '.join(map(repr, close))}" for name, close in near.items() if close]
        raise PassError(
            f"{what} names ops that the network does not have",
            stage=stage,
            found=", ".join(map(repr, shown)) + (f" and {more} more" if more else ""),
            hint=f"{'; '.join(hints)}." if hints else "`tilewright inspect` lists the ops with their names.",
        )
    return {name: by_name[name] for name in names}
