"""Arrays that the text of a module names by a hash of their bytes."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.errors import ParseError
from tilewright.ir.text.parser import parse_module


def test_constants_of_several_dtypes_may_share_their_bytes() -> None:
    """Zeros of one dtype are zeros of another."""
    module = parse_module(
        'module @m { const @a : i8[128] = blob "sha256:00" const @b : i32[4,8] = blob "sha256:00" }',
        {"00": np.zeros(128, np.int8)},
    )
    for name, dtype, shape in (("a", np.int8, (128,)), ("b", np.int32, (4, 8))):
        array = module.constants[name].array
        assert (array.dtype, array.shape) == (dtype, shape)


@pytest.mark.parametrize(
    ("type", "size", "message"),
    [
        ("i32[4]", 15, "15 bytes are no elements of 4 bytes"),
        ("i32[4]", 20, "expected 4 elements, found 5"),
        ('i8[3]<axis=0, blob "sha256:00">', 24, "expected as many zero points as scales, found 3 numbers"),
    ],
)
def test_blobs_of_the_wrong_size(type: str, size: int, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse_module(f'module @m {{ const @a : {type} = blob "sha256:00" }}', {"00": np.zeros(size, np.int8)})
