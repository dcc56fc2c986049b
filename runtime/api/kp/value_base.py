"""What all values of the API are: they show themselves as JSON. Programs derive classes of their own from this one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod

import numpy as np


class ValueRepresentBase(ABC):
    """A value whose text is JSON, indented by four spaces."""

    @abstractmethod
    def get_member_variable_dict(self) -> dict:
        """The attributes by name, in what JSON knows."""

    def __str__(self) -> str:
        return json.dumps(self.get_member_variable_dict(), indent=4, default=_plain)

    def __repr__(self) -> str:
        return str(self)


def _plain(found: object) -> object:
    """What stands for an object that JSON does not know; programs put such into their own values."""
    if isinstance(found, ValueRepresentBase):
        return found.get_member_variable_dict()
    if isinstance(found, np.ndarray):
        return str(found).split("\n")
    if isinstance(found, np.generic):
        return found.item()
    return str(found)


__all__ = ["ValueRepresentBase"]
