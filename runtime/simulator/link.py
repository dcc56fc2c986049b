"""Messages between cards: which receive belongs to which send, proved before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ..isa.encoding import Instruction, Stream
from ..isa.program import fault
from ..isa.transfer import Message, Receive, Send

Place = tuple[Stream, int]
"""An instruction: its stream, and its index there."""

_Key = tuple[int, int, int]
"""A message: the card that sends it, the one that receives it, and its tag."""

MessageType = TypeVar("MessageType", Send, Receive)


def pair_messages(queues: Mapping[Stream, Sequence[Instruction]], cards: int) -> dict[Place, Place]:
    """The receive of every send.

    Args:
        queues: the instructions of all cards that run together.
        cards: how many these are.

    Raises:
        InstructionError: a message is from or to a card that is none of them, or its own; has the tag of another one
            between the two; or has no other end, or one of another length.
    """
    sent, received = _by_message(queues, cards, Send), _by_message(queues, cards, Receive)
    for one, other, what in ((sent, received, "receives"), (received, sent, "sends")):
        for key, (stream, index, item) in one.items():
            if key not in other:
                direction = "to" if what == "sends" else "from"
                found = f"card {item.peer} {what} no message {item.tag} {direction} card {stream.card}"
                rule = "every SND has its RCV on the other card, and every RCV its SND"
                raise fault(stream, index, item, "tag", found, rule)
    pairs: dict[Place, Place] = {}
    for key, (stream, index, item) in sent.items():
        end, position, twin = received[key]
        if item.dram_bytes != twin.dram_bytes:
            name = f"{end.name} {position} (RCV)"
            found = f"{item.dram_bytes} bytes, of which {name} takes {twin.dram_bytes}"
            raise fault(stream, index, item, "run", found, "a message has as many bytes where it is received")
        pairs[stream, index] = end, position
    return pairs


def _by_message(
    queues: Mapping[Stream, Sequence[Instruction]], cards: int, cls: type[MessageType]
) -> dict[_Key, tuple[Stream, int, MessageType]]:
    found: dict[_Key, tuple[Stream, int, MessageType]] = {}
    for stream, items in queues.items():
        for index, item in enumerate(items):
            if not isinstance(item, Message):
                continue
            if item.peer >= cards or item.peer == stream.card:
                others = ", ".join(str(card) for card in range(cards) if card != stream.card)
                rule = f"one of the other cards that run the program: {others}" if others else "there is no other card"
                raise fault(stream, index, item, "peer", f"card {item.peer}", rule)
            if not isinstance(item, cls):
                continue
            sender, receiver = (stream.card, item.peer) if cls is Send else (item.peer, stream.card)
            key = sender, receiver, item.tag
            if key in found:
                first = f"{found[key][0].name} {found[key][1]}"
                rule = "each message from one card to another has a tag of its own"
                raise fault(stream, index, item, "tag", f"{item.tag}, as of {first} ({item.MNEMONIC})", rule)
            found[key] = stream, index, item
    return found
