"""What the DRAM of a card serves, in order, and what is noted of it and of the links."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..isa.encoding import Stream


class Request(NamedTuple):
    """What the DRAM serves: a transfer, the instruction ``number`` of a stream; or its fetch with that number."""

    is_fetch: bool
    stream: Stream
    number: int


class Service(NamedTuple):
    """When the DRAM of a card serves a request, or the link to another card carries a message: cycles, as of events."""

    request: Request
    start: float
    end: float


@dataclass(frozen=True)
class Traffic:
    """What `simulate` tells of DRAMs and links where it is given one.

    Attributes:
        dram: by card, in order.
        links: by sender and receiver, in order.
    """

    dram: dict[int, list[Service]] = field(default_factory=dict)
    links: dict[tuple[int, int], list[Service]] = field(default_factory=dict)


class Dram:
    """That of a card: what it has served, and when it is free.

    Attributes:
        fetches_apart: fetches that come after something else; those in between go on in an open row.
        order: of its requests; None where that is found out.
        early: requests that could start before those that it serves first.
    """

    def __init__(self, order: list[Request] | None) -> None:
        self.free = 0.0
        self.wrote = False
        self.turnarounds = 0
        self.fetches_apart = 0
        self.served: list[Request] = []
        self.order = order
        self.early: dict[Request, float] = {}
