"""The pages of ``docs/api``: which there are, and what stands on each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from tilewright.runtime.api.compat.imports import API, BOUND
from tilewright.runtime.report.table import Column, Table

from .docstring import markdown, summary
from .members import sections
from .tables import flags, information, keys, metrics, options

_MADE = "Made from the code by `python tools/make_documents.py api/{page}`; do not edit.\n"


@dataclass(frozen=True)
class Page:
    """The page of an API.

    Attributes:
        title: its heading.
        modules: those below `API` that programs see, the first with the text that begins the page.
        tables: further sections, from what is declared elsewhere.
        texts: modules that programs do not see, below `API` or with their whole names, whose texts are sections.
        face: a module that has everything of the others under one name, and whose text begins the page.
    """

    title: str
    modules: tuple[str, ...]
    tables: tuple[Callable[[], str], ...] = ()
    texts: tuple[str, ...] = ()
    face: str = ""


_APIS = {
    "accelerator": Page("Accelerator API", ("accelerator",), (flags, information), ("network",)),
    "classify": Page("Classification application", ("classify", "pynq", "pynq.pmbus"), (options,), ("network",)),
    "inference_engine": Page(
        "Inference Engine API",
        ("inference_engine", "inference_engine.constants"),
        (keys, metrics),
        texts=("inference_engine.devices.extension", "network"),
    ),
    "kp": Page(
        "kp API",
        tuple(f"kp.{name}" for name in ("core", "inference", "values", "enums", "exceptions", "members")),
        texts=("tilewright.runtime.containers", "kp.devices.device", "kp.preprocessing", "kp.raw_results"),
        face="kp",
    ),
    "simulator": Page(
        "Simulator API",
        ("simulator", "simulator.api", "simulator.schema", "simulator.schema.base"),
        texts=(
            "simulator.input_data",
            "tilewright.compiler.quantization.encodings",
            "simulator.metrics",
            "simulator.cuda",
        ),
    ),
}

PAGES = ("README", *_APIS)
"""The names of the pages."""


def page_text(page: str) -> str:
    """A page in Markdown.

    Raises:
        KeyError: there is no such page.
    """
    if page == "README":
        return _overview()
    api = _APIS[page]
    parts = [f"# {api.title}", _MADE.format(page=page).rstrip()]
    documented: set[int] = set()
    if api.face:
        parts += [_heading(api.face), markdown(import_module(f"{API}.{api.face}").__doc__)]
    for index, name in enumerate(api.modules):
        module = import_module(f"{API}.{name}")
        if index or name in BOUND.values():
            parts.append(_heading(name))
        parts.append(markdown(module.__doc__))
        parts += sections(module, documented)
    parts += [table() for table in api.tables]
    parts += [_text(name) for name in api.texts]
    return "\n\n".join(filter(None, parts)) + "\n"


def _heading(module: str) -> str:
    names = [f"`{bound}`" for bound, target in BOUND.items() if target == module]
    return f"## {', '.join(names) or module}"


def _overview() -> str:
    table = Table([Column("name", "program imports"), Column("page", "page")])
    pages = {module: name for name, page in _APIS.items() for module in (page.face, *page.modules)}
    for name, module in BOUND.items():
        page = pages.get(module)
        missing = find_spec(f"{API}.{module.partition('.')[0]}") is None
        shown = "not implemented yet" if missing or page is None else f"[{_APIS[page].title}]({page}.md)"
        table.add(name=f"`{name}`", page=shown)
    return (
        "\n\n".join(
            (
                "# Programs written for other SDKs",
                _MADE.format(page="README").rstrip(),
                markdown(import_module(f"{API}.compat").__doc__),
                table.markdown().rstrip(),
                _text("network"),
            )
        )
        + "\n"
    )


def _text(name: str) -> str:
    """What a module says of itself, as a section under its first sentence."""
    text = import_module(name if name.startswith("tilewright.") else f"{API}.{name}").__doc__
    return f"## {summary(text).rstrip('.')}\n\n{markdown(text).partition(chr(10) * 2)[2]}"
