"""Virtual cards: the next free one, groups of clusters, and what is given back."""

from __future__ import annotations

from weakref import WeakSet

import pytest

from tilewright.errors import UsageError
from tilewright.runtime.api import cards
from tilewright.runtime.api.cards import claim


@pytest.fixture(autouse=True)
def none_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests of this process still hold."""
    monkeypatch.setattr(cards, "_held", WeakSet())


def test_each_object_without_flags_takes_the_next_free_card() -> None:
    held = [claim() for _ in range(20)]
    assert [each.cards for each in held] == [(card,) for card in range(20)]
    assert all(each.clusters == range(1) for each in held)


def test_a_card_that_is_freed_or_forgotten_is_taken_next() -> None:
    first, second, third = claim(), claim(cards=2), claim()
    assert (second.cards, third.cards) == ((1, 2), (3,))
    first.free()
    first.free()
    assert claim().cards == (0,)
    del second
    assert claim(cards=3).cards == (0, 1, 2)


def test_who_asks_again_gets_the_same_card_where_nobody_else_has_it() -> None:
    first, second = claim(), claim()
    first.free()
    second.free()
    again = claim(former=second)
    assert again.cards == (1,)
    assert claim(cards=2, former=second).cards == (0, 2)


def test_groups_of_clusters_share_a_card_next_to_each_other() -> None:
    first = claim(clusters=2)
    second = claim(clusters=2, first_cluster=2)
    assert (first.cards, second.cards, second.clusters) == ((0,), (0,), range(2, 4))
    third = claim(clusters=2, first_cluster=2)
    fourth = claim(clusters=1, first_cluster=0)
    assert (third.cards, third.clusters) == ((1,), range(2, 4))
    assert fourth.cards == (2,), "a group of another size goes on another card"
    assert claim(clusters=2).cards == (3,), "without the flag, an object takes a whole card"


def test_linked_objects_take_turns_on_the_same_clusters_or_stand_next_to_each_other() -> None:
    first = claim(cards=2, clusters=4)
    second = claim(cards=2, clusters=4, beside=first)
    assert (second.cards, second.clusters) == ((0, 1), range(4))
    first.free()
    assert claim().cards == (2,), "the second still holds them"
    left = claim(clusters=2)
    right = claim(clusters=2, first_cluster=2, beside=left)
    assert (right.cards, right.clusters) == (left.cards, range(2, 4))


def test_what_cannot_be_had_is_told() -> None:
    with pytest.raises(UsageError, match=r"^there are not so many clusters; expected 1 to 4, found 5$"):
        claim(clusters=5)
    assert claim(clusters=5, clusters_per_card=8).clusters == range(5)
    with pytest.raises(UsageError, match=r"^there are not so many cards; expected 1 to 64, found 0$"):
        claim(cards=0)
    with pytest.raises(UsageError) as caught:
        claim(clusters=2, first_cluster=3)
    assert str(caught.value) == (
        "the group of clusters does not lie on the card; "
        "expected 2 from 4 clusters, the first being at most 2, found first 3"
    )
    first = claim(clusters=2)
    with pytest.raises(UsageError) as caught:
        claim(clusters=1, first_cluster=2, beside=first)
    assert str(caught.value) == (
        "the group of clusters does not go with another on its card; "
        "expected 2 clusters, as the group from 0, and apart from it, found 1 from 2"
    )
    with pytest.raises(
        UsageError, match=r"^objects that share cards have the same number of them; expected 1, found 2$"
    ):
        claim(cards=2, clusters=2, beside=first)
