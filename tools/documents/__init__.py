"""The documents that are made from the code: docstrings, signatures and declared tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tilewright.compiler.report.model import supported

from . import isa, json_schemas, machine_file
from .pages import PAGES, page_text

DOCUMENTS: dict[str, Callable[[], str]] = {
    "isa": isa.document,
    "machine_file": machine_file.document,
    "json": json_schemas.document,
    "json_schema.json": json_schemas.schema_text,
    "operators": lambda: str(supported(as_json=False)),
    **{f"api/{page}": partial(page_text, page) for page in PAGES},
}
"""Path below ``docs``, without ``.md``: what makes the text."""
