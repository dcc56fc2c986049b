"""The ops that users mean by the names of nodes and tensors, and by patterns of such names."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Set
from dataclasses import replace
from fnmatch import fnmatchcase

from tilewright.errors import PassError, first_of

from ..ir.core import Constant, Module, Op, is_op
from ..ir.ops import REGISTRY
from ..ir.ops.convolution import Conv
from ..ir.ops.matmul import MatMul
from ..ir.ops.quantization import Dequantize
from .pattern import Match, Rule

KEEP_FLOAT = "--keep-float"
"""What names ops that stay in floating point, for messages."""


def find_named(
    ops: Iterable[Op], names: Collection[str], what: str, stage: str, kinds: Collection[str] = ()
) -> dict[str, list[Op]]:
    """The ops that each name stands for: those from a source node, or with a result, of this name.

    A ``*`` in a name that none has stands for any characters, for all the ops whose names are like that.
    ``what``, ``stage``: what has the names, and the pass that is to use them, for the message.
    ``kinds``: names of operators that may be given, too, for all their ops, be there any or not.
    Raises PassError: a name stands for none."""
    by_name: dict[str, list[Op]] = {kind: [] for kind in kinds}
    for op in ops:
        own = (*op.loc, *(value.name for value in op.results), *([op.name] if op.name in kinds else []))
        for name in dict.fromkeys(own):
            by_name.setdefault(name, []).append(op)
    found = {
        name: by_name.get(name) or [*dict.fromkeys(op for like in named_like(name, by_name) for op in by_name[like])]
        for name in names
    }
    unknown = [name for name, ops in found.items() if not ops and name not in kinds]
    if unknown:
        near = {name: _near(name, by_name) for name in unknown[:5]}
        hints = [f"{name!r} is like {', '.join(map(repr, close))}" for name, close in near.items() if close]
        raise PassError(
            f"{what} names ops that the network does not have",
            stage=stage,
            found=first_of([*map(repr, unknown)], 5),
            hint=f"{'; '.join(hints)}." if hints else "`tilewright inspect` lists the ops with their names.",
        )
    return found


def _near(name: str, names: Collection[str]) -> list[str]:
    """Some names that may be meant by one that none has: those that it is a part of, else those spelt alike."""
    return [each for each in names if name in each][:3] or difflib.get_close_matches(name, names, 3, cutoff=0.65)


def named_like(pattern: str, names: Iterable[str]) -> list[str]:
    """Those of the names that a pattern stands for, in which ``*`` is any text; one without it stands for none."""
    plain = re.sub(r"[?\[]", r"[\g<0>]", pattern)
    return [name for name in names if "*" in pattern and fnmatchcase(name, plain)]


def named_nodes(ops: Iterable[Op], names: Collection[str], what: str, stage: str) -> tuple[str, ...]:
    """The same ops by names that passes keep: of their source nodes, else of their results; kinds as they are."""
    chosen = {name: None for name in names if name in REGISTRY}
    for name, found in find_named(ops, names, what, stage, REGISTRY).items():
        if name not in REGISTRY:
            chosen.update(dict.fromkeys(own for op in found for own in op.loc or (v.name for v in op.results)))
    return tuple(chosen)


def still_there(ops: Iterable[Op], names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that ops still have, and kinds."""
    own = {name for op in ops for name in (*op.loc, *(value.name for value in op.results))}
    return tuple(name for name in names if name in own or name in REGISTRY)


def kept_ops(module: Module, keep: Collection[str], stage: str) -> set[Op]:
    """Those that stay in floating point by names that a module still has."""
    names = still_there(module.ops, keep)
    return {op for ops in find_named(module.ops, names, KEEP_FLOAT, stage, REGISTRY).values() for op in ops}


def unless_kept(
    rules: Iterable[Rule], kept: Set[Op], concerned: Callable[[Op], Iterable[Op | None]] = lambda root: [root]
) -> tuple[Rule, ...]:
    """Rules that are not applied where a match concerns one of these ops: its root, or what `concerned` has of that."""

    def guarded(rule: Rule) -> Rule:
        rewrite: Callable[[Match], object] = rule.rewrite
        return replace(rule, rewrite=lambda found: rewrite(found) if kept.isdisjoint(concerned(found.root)) else None)

    return tuple(map(guarded, rules)) if kept else tuple(rules)


def computed_with(root: Op) -> set[Op]:
    """The ops that compute what an op does, from integers or the last layers with weights on, itself among them."""
    found, left = set[Op](), [root]
    while left:
        op = left.pop()
        found.add(op)
        makers = {value.producer for value in op.inputs} - found
        left += [each for each in makers if each is not None and not (is_op(each, Dequantize) or _is_layer(each))]
    return found


def _is_layer(op: Op) -> bool:
    return is_op(op, MatMul, Conv) and isinstance(op.inputs[1], Constant)
