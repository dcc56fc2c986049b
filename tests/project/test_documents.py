"""The documents made from the code are current; how docstrings, signatures and tables become Markdown."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import ModuleType

import pytest
from documents import DOCUMENTS
from documents.members import sections

from tilewright.runtime.api.kp.members import Member, Value, integer, items, text

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_documents_are_current(name: str, request: pytest.FixtureRequest) -> None:
    """Made by `python tools/make_documents.py`, or by this test with --update-golden."""
    file, text = FOLDER / (name if "." in name else f"{name}.md"), DOCUMENTS[name]()
    if request.config.getoption("--update-golden"):
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text, f"run: python tools/make_documents.py {name}"


def test_no_other_pages_of_apis_are_there() -> None:
    assert {f"api/{file.stem}" for file in (FOLDER / "api").iterdir()} < DOCUMENTS.keys()


def test_the_command_writes_what_is_not_current(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copytree(FOLDER / "api", tmp_path / "docs" / "api")
    kept, stale = tmp_path / "docs" / "api" / "README.md", tmp_path / "docs" / "api" / "kp.md"
    stale.write_text("another text")
    as_it_was = kept.stat().st_mtime_ns
    command = [sys.executable, tmp_path / "tools" / "make_documents.py", "api/README", "api/kp"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "docs/api/kp.md\n"
    assert stale.read_text(encoding="utf-8") == DOCUMENTS["api/kp"]()
    assert kept.stat().st_mtime_ns == as_it_was


def test_the_command_names_the_documents() -> None:
    command = [sys.executable, ROOT / "tools" / "make_documents.py", "nosuch"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"no document 'nosuch': it is one of {', '.join(DOCUMENTS)}" in done.stderr


def made_of(**members: object) -> str:
    """What a module with these members becomes."""
    for member in members.values():
        if isinstance(member, type):
            member.__module__ = "tilewright.sample"
    module = ModuleType("sample")
    vars(module).update(members, __all__=[*members])
    return "\n\n".join(sections(module, set()))


class Base:
    """Not shown by itself."""

    def shared(self, first: int, /, second: str = "a", *rest: float, third: bool = True, **others: object) -> None:
        """Is shown with each class of ours."""

    def hidden(self) -> Base:
        """Is defined again below."""
        return self


class Sample(Base):
    """A sample, in ``code``.

    A second paragraph.

    Args:
        one: the first,
            on two lines.
        two, three: others.

    Original: it was otherwise,
    and worse.
    """

    def __init__(self, one: int, two: int = 2) -> None:
        """Make one.

        Raises:
            ValueError: never.
        """

    @property
    def size(self) -> int:
        """How large it is."""
        return 0

    def hidden(self, *, key: tuple[int, ...] = (1, 2)) -> Sample:
        """Here it is.

        Returns:
            Itself: always.

            And nothing else.

        An example:

            sample.hidden()
        """
        return self

    @staticmethod
    def alone(value: int | None = None) -> int:
        """Needs no object."""
        return 0

    def told(self, of: int) -> None:
        """One of each stands in the text.
        ``of``: what is told,
        on two lines.
        Raises ValueError: never; TypeError: nor that."""

    def _private(self) -> None:
        """Not shown."""


SHOWN = """\
### class `Sample(one: int, two: int = 2)`

A sample, in `code`.

A second paragraph.

Arguments:

- `one`: the first, on two lines.
- `two`, `three`: others.

*Original:* it was otherwise,
and worse.

Make one.

Errors:

- `ValueError`: never.

#### `Sample.size`

How large it is.

#### `Sample.hidden(*, key: tuple[int, ...] = (1, 2)) -> Sample`

Here it is.

Returns:

- Itself: always.
- And nothing else.

An example:

```
sample.hidden()
```

#### `Sample.alone(value: int | None = None) -> int`

Needs no object.

#### `Sample.told(of: int) -> None`

One of each stands in the text.

Arguments:

- `of`: what is told, on two lines.

Errors:

- `ValueError`: never
- `TypeError`: nor that.

#### `Sample.shared(first: int, /, second: str = 'a', *rest: float, third: bool = True, **others: object) -> None`

Is shown with each class of ours.

### `Alias`

Another name of `Sample`."""


def test_a_class_is_shown_with_its_members() -> None:
    Base.__module__ = "tilewright.sample"
    assert made_of(Sample=Sample, Alias=Sample) == SHOWN


def test_a_property_may_have_another_name() -> None:
    class Twice:
        @property
        def first(self) -> int:
            """A number."""
            return 1

        second = first

    Twice.__module__ = "tilewright.sample"
    assert "#### `Twice.second`\n\nAnother name of `first`." in made_of(Twice=Twice)


def test_functions_and_constants_are_shown() -> None:
    def function(paths: list[str], *, strict: bool = False) -> dict[str, int]:
        """Reads."""
        return {}

    assert made_of(function=function, LIMIT=3, NAMES=("a|b",), module=sys) == (
        "### `function(paths: list[str], *, strict: bool = False) -> dict[str, int]`\n\nReads.\n\n"
        "| constant | value |\n|:--|:--|\n| `LIMIT` | `3` |\n| `NAMES` | `('a\\|b',)` |"
    )


def test_the_members_of_an_enumeration_are_shown() -> None:
    class Colour(IntEnum):
        """A colour."""

        RED = 1
        CRIMSON = 1
        BLUE = 2

    table = "| member | value |\n|:--|:--|\n| `RED` | `1` |\n| `CRIMSON` | `1` |\n| `BLUE` | `2` |"
    assert made_of(Colour=Colour) == f"### class `Colour`\n\nA colour.\n\n{table}"


def test_a_function_that_is_a_method_too_is_told_once() -> None:
    def function() -> None:
        """Does it."""

    calls = type("Calls", (), {"__doc__": "The calls.", "function": staticmethod(function)})
    shown = "### class `Calls`\n\nThe calls.\n\n#### `Calls.function`\n\nThe function `function`."
    assert made_of(Calls=calls, function=function) == f"{shown}\n\n### `function() -> None`\n\nDoes it."


def test_values_are_shown_with_their_members() -> None:
    @dataclass(repr=False, eq=False)
    class Box(Value):
        """A box.

        Attributes:
            x: where it is.
            parts: what is in it.
        """

        x: Member[int] = integer(low=-1)  # noqa: RUF009
        name: Member[str] = text("a")  # noqa: RUF009
        parts: Member[list[Value]] = items(Value)  # noqa: RUF009

    assert made_of(Box=Box).startswith(
        "### class `Box`\n\nA box.\n\n| attribute | type | default | meaning |\n|:--|:--|:--|:--|\n"
        "| `x` | `int` | required | where it is. |\n"
        "| `name` | `str` | `'a'` |  |\n"
        "| `parts` | `list[Value]` | a new one | what is in it. |\n\n"
    )


def test_parameter_classes_are_shown_with_their_fields() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Parameters(pydantic.BaseModel):
        """What it takes.

        Attributes:
            path: where it is.
            names: which.
        """

        path: str = pydantic.Field(validation_alias=pydantic.AliasChoices("path", "paht"))
        names: list[str] = pydantic.Field(default_factory=list)
        use_cuda: bool = False

    assert made_of(Parameters=Parameters).split("\n\n")[-1] == (
        "| field | type | default | meaning | also accepted as |\n|:--|:--|:--|:--|:--|\n"
        "| `path` | `str` | required | where it is. | `paht` |\n"
        "| `names` | `list[str]` | `[]` | which. |  |\n"
        "| `use_cuda` | `bool` | `False` |  |  |"
    )
