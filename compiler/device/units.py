"""How many clusters and cards options ask for, and whether a machine has them and a batch divides among them."""

from tilewright.errors import MachineError, UsageError

from ...runtime.machines.machine import Machine
from ..options import CompileOptions


def clusters_of(options: CompileOptions, machine: Machine) -> int:
    """How many clusters work on an image: all of them, unless the options say otherwise."""
    return machine.clusters if options.clusters is None else options.clusters


def check_units(options: CompileOptions, machine: Machine) -> None:
    """Refuse more clusters or cards than the machine has, or none.
    Raises UsageError, MachineError: names the option."""
    for flag, found, most in (
        ("--clusters", clusters_of(options, machine), machine.clusters),
        ("--cards", options.cards, machine.cards),
    ):
        if not 1 <= found <= most:
            kind = UsageError if found < 1 else MachineError
            message = f"{flag}: out of range for machine {machine.name}"
            raise kind(message, expected=f"1 to {most}" if most > 1 else "1", found=found)


def check_batch(options: CompileOptions, machine: Machine, batch: int) -> None:
    """Refuse a batch that cards and clusters cannot share out evenly.
    ``batch``: how many images the network takes at once.
    Raises UsageError: names the option."""
    cards, each = options.cards, options.images_per_cluster
    # More cards than images share out the layers.
    cards = 1 if cards > batch else cards
    if batch % cards:
        expected = f"a divisor of the {batch} images that the network takes at once"
        raise UsageError("--cards: the images cannot be shared out evenly", expected=expected, found=cards)
    if each is None:
        return
    clusters = clusters_of(options, machine)
    own, together = batch // cards, clusters * each
    if batch == 1:
        raise UsageError(
            "--images-per-cluster: the network takes one image",
            hint="Give more with --input-shape where the model leaves their number open, or leave the option out.",
        )
    if not 1 <= each <= own:
        expected = f"1 to {own}" if own > 1 else "1"
        raise UsageError("--images-per-cluster: a card does not have so many images", expected=expected, found=each)
    if own > together and own % together:
        raise UsageError(
            "--images-per-cluster: the images of a card cannot be shared out evenly",
            expected=f"clusters x images per cluster to divide the {own} images of a card, or to be no fewer",
            found=f"{clusters} x {each} = {together}",
        )
