"""Size strings, and the shapes that networks get for them."""

from __future__ import annotations

import pytest

from tilewright.runtime.api.accelerator.errors import AcceleratorError
from tilewright.runtime.api.accelerator.networks.sizes import Size, is_size, parse_shapes, parse_sizes, shape_of


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("224x256x3", [Size(224, 256, 3)]),
        ("224x256x3x8", [Size(224, 256, 3, batch=8)]),
        ("8x9x4x3x2", [Size(8, 9, 3, 4, 2)]),
        ("1x1x128;1x1x64", [Size(1, 1, 128), Size(1, 1, 64)]),
        (" 2X3x4 ; 5x6x7 ;", [Size(2, 3, 4), Size(5, 6, 7)]),
    ],
)
def test_sizes_of_every_documented_form(text: str, sizes: list[Size]) -> None:
    assert is_size(text)
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["224x224", "1x2x3x4x5x6", "x", "1xx3", "0x1x1", "99999999999x1x1", "1x1x1;;1x1x1"])
def test_other_texts_of_digits_are_refused(text: str) -> None:
    with pytest.raises(AcceleratorError, match="this is no size; expected"):
        parse_sizes(text)


def test_more_elements_than_any_tensor_has_are_refused() -> None:
    with pytest.raises(AcceleratorError, match="at most 2147483647 elements"):
        parse_sizes("65536x65536x1")
    with pytest.raises(AcceleratorError, match="this is no size"):
        parse_sizes("1x1x1;" * 65)


@pytest.mark.parametrize("text", ["", "dog.jpg", "save.bin", "./224x224x3.png"])
def test_paths_are_no_sizes(text: str) -> None:
    assert not is_size(text)


def test_shapes_are_as_the_model_has_them() -> None:
    assert parse_shapes("1x3x224x224;5") == [(1, 3, 224, 224), (5,)]


@pytest.mark.parametrize(
    ("declared", "size", "shape", "images"),
    [
        # As many elements: the declared shape, however they are arranged.
        ((1, 3, 4, 6), Size(6, 4, 3), (1, 3, 4, 6), 1),
        ((1, 3, 4, 6), Size(4, 6, 3), (1, 3, 4, 6), 1),
        ((1, 1, 1, 128), Size(1, 1, 128), (1, 1, 1, 128), 1),
        ((1, 128), Size(1, 1, 128), (1, 128), 1),
        ((8, 3, 4, 6), Size(6, 4, 3, batch=8), (8, 3, 4, 6), 1),
        # A batch that the network does not have.
        ((1, 3, 4, 6), Size(6, 4, 3, batch=5), (1, 3, 4, 6), 5),
        # What the model leaves open.
        ((None, 3, None, None), Size(6, 4, 3), (1, 3, 4, 6), 1),
        ((None, 3, 4, 6), Size(4, 6, 3, batch=2), (2, 3, 4, 6), 1),
        ((None, 128), Size(1, 1, 128), (1, 128), 1),
        ((1, None), Size(1, 1, 128), (1, 128), 1),
        ((None, None), Size(1, 1, 128, batch=2), (2, 128), 1),
        ((1, 3, None, None, None), Size(6, 4, 3, 2), (1, 3, 2, 4, 6), 1),
        # Another size than the model was made for.
        ((1, 3, 4, 6), Size(9, 8, 3), (1, 3, 8, 9), 1),
        ((1, 3, 4, 6), Size(9, 8, 3, batch=2), (1, 3, 8, 9), 2),
        ((2, 3, 4, 6), Size(9, 8, 3, batch=2), (2, 3, 8, 9), 1),
    ],
)
def test_shapes_for_sizes(declared: tuple[int | None, ...], size: Size, shape: tuple[int, ...], images: int) -> None:
    assert shape_of("x", declared, size) == (shape, images)


@pytest.mark.parametrize("declared", [(1, 128), (None, 7), (5,)])
def test_a_size_that_cannot_be_of_this_rank_is_refused(declared: tuple[int | None, ...]) -> None:
    with pytest.raises(
        AcceleratorError, match=r"the size does not fit input 'x'; expected \[.*\], found 4x2x3x2, which"
    ):
        shape_of("x", declared, Size(4, 2, 3, batch=2))
