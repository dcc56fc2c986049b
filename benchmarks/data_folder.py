"""The folder of models and samples that is too large for the repository."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """The folder that ``TILEWRIGHT_DATA`` names; ends the program, saying so, where that holds no folder ``models``."""
    named = os.environ.get("TILEWRIGHT_DATA", "")
    if not named or not Path(named, "models").is_dir():
        raise SystemExit(f"TILEWRIGHT_DATA must name a folder with models/ and what they are given; it is {named!r}")
    return Path(named)
