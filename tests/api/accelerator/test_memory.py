"""The memory of virtual cards: what is written is read, and every bound holds."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright import limits
from tilewright.runtime.api.accelerator import FWDNXT, MDLA
from tilewright.runtime.api.accelerator.errors import AcceleratorError

GIB = 2**30


def refusal(call, *arguments: object) -> str:
    with pytest.raises(AcceleratorError) as caught:
        call(*arguments)
    assert caught.value.code == -1
    return str(caught.value)


def card(cards: int = 1) -> MDLA:
    accelerator = MDLA()
    accelerator.SetFlag({"nfpgas": cards, "bitfile": "s256"})
    return accelerator


@pytest.mark.parametrize("address", [0, 1, 65535, 65536, 3 * 65536 - 4, GIB - 400_000])
@pytest.mark.parametrize("kind", [FWDNXT, MDLA])
def test_what_is_written_is_read(kind: type[FWDNXT | MDLA], address: int) -> None:
    accelerator = kind()
    accelerator.SetFlag("bitfile", "s256")
    data = np.random.default_rng(1).standard_normal((100, 1000)).astype(np.float32)
    accelerator.WriteData(np.uint64(address), data, 0)
    found = np.empty_like(data)
    accelerator.ReadData(address, found, 0)
    np.testing.assert_array_equal(found, data)
    around = np.empty(1, np.uint8)
    if address:
        accelerator.ReadData(address - 1, around, 0)
        assert around[0] == 0


def test_cards_and_objects_have_memories_of_their_own() -> None:
    first, second = card(2), card(2)
    first.WriteData(64, np.ones(4, np.float32), 1)
    found = np.full(4, np.nan, np.float32)
    for accelerator, number, expected in ((first, 0, 0), (first, 1, 1), (second, 1, 0)):
        accelerator.ReadData(64, found, number)
        assert (found == expected).all()


def test_bounds_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator, data = card(), np.zeros(4, np.float32)
    outside = f"this lies outside the memory of a card; expected 0 to {GIB} (S256), found"
    assert refusal(accelerator.WriteData, GIB - 15, data) == f"WriteData: {outside} 16 bytes from {GIB - 15}"
    assert refusal(accelerator.ReadData, -1, data) == f"ReadData: {outside} 16 bytes from -1"
    assert refusal(accelerator.ReadData, np.uint64(2**64 - 1), data).endswith(f"16 bytes from {2**64 - 1}")
    assert refusal(accelerator.ReadData, 2**64, data) == f"ReadData: {outside} 16 bytes from {2**64}"
    no_card = "there is no card of this number; expected 0 to 0, found"
    assert refusal(accelerator.WriteData, 0, data, 1) == f"WriteData: {no_card} 1"
    assert refusal(accelerator.ReadData, 0, data, -1) == f"ReadData: {no_card} -1"
    assert (
        refusal(accelerator.WriteData, "a", data) == "WriteData: this is no address; expected a whole number, found str"
    )
    assert (
        refusal(accelerator.WriteData, 0, [1.0])
        == "WriteData: this is no array of numbers; expected an array, found list"
    )
    objects = np.array([None])
    assert refusal(accelerator.WriteData, 0, objects).startswith("WriteData: this is no array of numbers")
    data.flags.writeable = False
    assert refusal(accelerator.ReadData, 0, data) == (
        "ReadData: this cannot be read into; expected an array of numbers, found ndarray"
    )
    monkeypatch.setattr(limits, "CARD_MEMORY", 2**17)
    accelerator.WriteData(0, np.zeros(2**17, np.uint8))
    assert refusal(accelerator.WriteData, 2**17, data) == (
        "WriteData: more is written than this host keeps; expected at most 131072 bytes, found 196608"
    )
    accelerator.WriteData(2**16, data)


def test_as_many_cards_as_any_flag_says_take_no_memory() -> None:
    accelerator = card(2**40)
    found = np.ones(4, np.float32)
    accelerator.ReadData(0, found, 2**40 - 1)
    assert not found.any()
    accelerator.SetFlag("nfpgas", 2)
    assert refusal(accelerator.ReadData, 0, found, 2).endswith("expected 0 to 1, found 2")
