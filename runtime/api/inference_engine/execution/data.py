"""Inputs and outputs of loaded networks, in the form that programs of 2018 and of later releases both understand."""

from __future__ import annotations

from .facts import BlobFacts


class LoadedData(list[int]):
    """An input or an output of a loaded network: its shape, as a list, with what else there is to know of it.

    Attributes:
        name: as in ``requests[0].inputs``.
        precision: of the elements, such as ``FP32``.
        layout: such as ``NCHW``.
    """

    def __init__(self, facts: BlobFacts) -> None:
        super().__init__(facts.shape)
        self.name = facts.name
        self.precision = facts.precision
        self.layout = facts.layout

    @property
    def shape(self) -> list[int]:
        """The shape of the array that programs see."""
        return list(self)

    @property
    def input_data(self) -> LoadedData:
        """Itself: what ``input_info[name]`` of 2021 has the shape in."""
        return self

    def __reduce__(self) -> tuple[type[list[int]], tuple[list[int]]]:
        """Copies and what other processes receive are the shape alone."""
        return list, (list(self),)
