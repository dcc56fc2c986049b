"""Size strings such as ``224x256x3``, and the shapes of networks that they stand for."""

import math
import re

from tilewright.immutable import Immutable
from tilewright.limits import ELEMENTS

from ..errors import AcceleratorError

Declared = tuple["int | None", ...]
"""The shape of an input as the model declares it; None where it leaves an extent open."""

Shape = tuple[int, ...]

_EXTENT = re.compile(r"[0-9]{1,10}")
_INPUTS = 64
_FORMS = "WxHxP, WxHxPxB or WxHxDxPxB"


class Size(Immutable):
    """The size of an input: of `planes` planes each, `depth` only where it is of three dimensions."""

    width: int
    height: int
    planes: int
    depth: int | None = None
    batch: int = 1

    def __str__(self) -> str:
        depth = f"x{self.depth}" if self.depth is not None else ""
        batch = f"x{self.batch}" if self.depth is not None or self.batch != 1 else ""
        return f"{self.width}x{self.height}{depth}x{self.planes}{batch}"

    @property
    def image(self) -> Shape:
        """The shape of one image: planes, depth where it has one, rows, columns."""
        depth = () if self.depth is None else (self.depth,)
        return (self.planes, *depth, self.height, self.width)


def is_size(text: object) -> bool:
    """Whether this is meant as a size or shape and not as the path of a file."""
    if not isinstance(text, str) or not text:
        return False
    return all(set(part.strip()) <= set("0123456789xX ") for part in text.rstrip("; ").split(";"))


def parse_sizes(text: str) -> list[Size]:
    """The sizes of the inputs in ``WxHxP``, ``WxHxPxB`` or ``WxHxDxPxB``, with ``;`` between them.
    Raises AcceleratorError: the text is of another form, or an extent is out of range."""
    sizes: list[Size] = []
    for extents in _extents(text, _FORMS):
        if not 3 <= len(extents) <= 5:
            raise _wrong(text, _FORMS)
        width, height, *depth, planes, batch = extents if len(extents) > 3 else (*extents, 1)
        sizes.append(Size(width, height, planes, depth[0] if depth else None, batch))
    return sizes


def parse_shapes(text: str) -> list[Shape]:
    """The shapes of the inputs as the model has them, such as ``1x3x224x224``, with ``;`` between them."""
    return _extents(text, "1x3x224x224, with ; between inputs")


def _extents(text: str, form: str) -> list[Shape]:
    parts = text.rstrip("; ").split(";")
    words = [part.strip().lower().split("x") for part in parts[:_INPUTS]]
    if len(parts) > _INPUTS or not all(_EXTENT.fullmatch(word) for part in words for word in part):
        raise _wrong(text, form)
    shapes = [tuple(int(word) for word in part) for part in words]
    if any(not 0 < math.prod(shape) <= ELEMENTS for shape in shapes):
        raise _wrong(text, f"extents of at least 1, at most {int(ELEMENTS)} elements")
    return shapes


def _wrong(text: str, expected: str) -> AcceleratorError:
    return AcceleratorError("this is no size", stage="Compile", expected=expected, found=f"{text!r:.60}")


def shape_of(name: str, declared: Declared, size: Size) -> tuple[Shape, int]:
    """The shape that an input gets for a size, and how many of its images go in at once.

    A size of as many elements as the declared shape is that shape, however they are arranged: existing programs write
    ``1x1x128`` for [1, 1, 1, 128], and the height before the width. What the model leaves open is filled in. A batch
    that the network does not have is so many images one after the other.
    Raises AcceleratorError: the size cannot be made a shape of this rank."""
    fixed = tuple(extent for extent in declared if extent is not None)
    each = math.prod(size.image)
    if len(fixed) == len(declared) and math.prod(fixed) == each * size.batch:
        return fixed, 1
    if len(fixed) == len(declared) and math.prod(fixed) == each:
        return fixed, size.batch
    arranged = (size.batch, *size.image)
    if len(arranged) == len(declared) and all(d in (None, a) for a, d in zip(arranged, declared, strict=True)):
        return arranged, 1
    # An open batch, and perhaps one more extent that follows from the number of elements.
    first = size.batch if declared and declared[0] is None else None
    filled = [first if index == 0 and first is not None else extent for index, extent in enumerate(declared)]
    known, unknown = math.prod(extent for extent in filled if extent is not None), filled.count(None)
    if unknown == 0 and known == each * size.batch:
        return _filled(filled, 1), 1
    if unknown == 1 and known and (each * size.batch) % known == 0:
        return _filled(filled, each * size.batch // known), 1
    if len(size.image) + 1 == len(declared):
        # Another size than the model was made for: the network may allow it.
        one = declared[0] == 1
        return (1 if one else size.batch, *size.image), size.batch if one else 1
    raise AcceleratorError(
        f"the size does not fit input {name!r}",
        stage="Compile",
        expected=shape_text(declared),
        found=f"{size}, which is {each * size.batch} elements",
    )


def shape_text(declared: Declared) -> str:
    """A declared shape as messages show it, ``[1, 3, ?, ?]``."""
    return f"[{', '.join('?' if extent is None else str(extent) for extent in declared)}]"


def _filled(extents: list[int | None], missing: int) -> Shape:
    return tuple(missing if extent is None else extent for extent in extents)
