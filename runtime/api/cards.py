"""The virtual cards of this process: which object holds which clusters of which card.

There are as many cards as are asked for, each with the clusters that the machine description gives it. What holds them
computes the same numbers wherever it is placed; places say which objects share a card, and who must ask for others.
"""

from itertools import chain, count, islice
from weakref import WeakSet

from tilewright.errors import UsageError

from ..waiting import Guard

CLUSTERS = 4
"""The clusters of a card, unless the machine says otherwise."""

CARDS = 64
"""How many cards one object may hold."""


class Claim:
    """The same clusters of some cards, held until `free` or until nothing refers to this any more.
    ``cards``: their numbers, from 0.
    ``clusters``: their numbers on each of the cards.
    ``linked``: what claims have in common whose objects take turns on the same clusters."""

    def __init__(self, cards: tuple[int, ...], clusters: range, linked: object) -> None:
        self.cards = cards
        self.clusters = clusters
        self.linked = linked
        _held.add(self)

    def free(self) -> None:
        """Give them back. Idempotent."""
        _held.discard(self)

    def goes_with(self, card: int, clusters: range, linked: object) -> bool:
        """Whether others may hold these clusters of a card at the same time: equal groups, apart unless linked."""
        if card not in self.cards or (linked is self.linked and clusters == self.clusters):
            return True
        apart = clusters.stop <= self.clusters.start or self.clusters.stop <= clusters.start
        return apart and len(clusters) == len(self.clusters)


def claim(
    *,
    cards: int = 1,
    clusters: int = 1,
    first_cluster: int | None = None,
    beside: Claim | None = None,
    former: Claim | None = None,
    clusters_per_card: int = CLUSTERS,
) -> Claim:
    """Clusters for a new object.

    Args:
        cards: how many cards compute for it.
        clusters: how many clusters of each.
        first_cluster: which is the first of them. Such an object may share its cards with others that have as many
            clusters, next to its own. Without it, it takes the next cards that nobody holds anything of.
        beside: what an object holds whose cards the new one shares; by default also its clusters, in turns.
        former: what the object gave back for this; it takes the same cards again where nobody else holds them.
        clusters_per_card: how many there are on a card.

    Raises:
        UsageError: there are not so many, or those of the shared cards are taken or of another number.
    """
    for name, number, most in (("cards", cards, CARDS), ("clusters", clusters, clusters_per_card)):
        if not 1 <= number <= most:
            raise UsageError(f"there are not so many {name}", expected=f"1 to {most}", found=number)
    if first_cluster is None and beside is not None and len(beside.clusters) == clusters:
        first_cluster = beside.clusters.start
    first = first_cluster or 0
    if not 0 <= first <= clusters_per_card - clusters:
        expected = (
            f"{clusters} from {clusters_per_card} clusters, the first being at most {clusters_per_card - clusters}"
        )
        raise UsageError("the group of clusters does not lie on the card", expected=expected, found=f"first {first}")
    group = range(first, first + clusters)
    linked = beside.linked if beside is not None else object()
    with _guard.lock:
        held = list(_held)
        if beside is not None:
            _check_beside(held, beside.cards, cards, group, linked)
            return Claim(beside.cards, group, linked)
        known = former.cards if former is not None else ()
        numbers = chain(known, (card for card in count() if card not in known))
        if first_cluster is None:
            taken = {card for each in held for card in each.cards}
            free = (card for card in numbers if card not in taken)
        else:
            free = (card for card in numbers if all(each.goes_with(card, group, linked) for each in held))
        return Claim(tuple(islice(free, cards)), group, linked)


def _check_beside(held: list[Claim], shared: tuple[int, ...], cards: int, group: range, linked: object) -> None:
    if cards != len(shared):
        raise UsageError("objects that share cards have the same number of them", expected=len(shared), found=cards)
    for each in held:
        if not all(each.goes_with(card, group, linked) for card in shared):
            raise UsageError(
                "the group of clusters does not go with another on its card",
                expected=f"{len(each.clusters)} clusters, as the group from {each.clusters.start}, and apart from it",
                found=f"{len(group)} from {group.start}",
            )


_held: WeakSet[Claim] = WeakSet()
_guard = Guard()
