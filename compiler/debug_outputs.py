"""Which tensors of a model become debug outputs of its artifact, and which of them cannot: ``compile --keep``."""

from collections.abc import Sequence

from tilewright.errors import UsageError, first_of, similar

from ..codegen.package import Package
from ..ir.core import Constant, Module
from ..passes.named_ops import named_like
from ..passes.simplify.keep_values import values_by_origin

EVERY = "all"
"""The word for every tensor of the model."""

_SHOWN = 5


def kept_names(module: Module, asked: Sequence[str]) -> tuple[str, ...]:
    """The tensors of an imported network that names, patterns and the word ``all`` stand for, in its order.
    Raises UsageError: one stands for none."""
    known = [name for name, value in values_by_origin(module.main).items() if not isinstance(value, Constant)]
    found: set[str] = set()
    for word in asked:
        named = [word] if word in known else named_like("*" if word == EVERY else word, known)
        if not named and word not in module.main.result_names:
            raise UsageError(
                "--keep names a tensor that the network does not compute",
                expected=f"names of tensors, patterns, or {EVERY}",
                found=repr(word),
                hint=similar(word, known, 3) or "`tilewright inspect MODEL` lists the nodes with their names.",
            )
        found.update(named)
    return tuple(name for name in known if name in found)


def lost_names(names: Sequence[str], package: Package) -> list[str]:
    """A warning that tells which of these tensors are not to be had, if any is."""
    held = {spec.name for spec in (*package.manifest().inputs, *package.manifest().outputs)}
    lost = [name for name in names if name not in held]
    if not lost:
        return []
    return [
        f"{len(lost)} of {len(names)} tensors to keep became part of others, such as activations of the convolutions "
        f"before them, and are no outputs: {first_of(lost, _SHOWN)}"
    ]
