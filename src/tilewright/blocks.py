"""What parts that do not import each other agree on about the layout of tensors and the accelerator."""

from __future__ import annotations

CHANNEL_BLOCK = 16
"""Channels in a block of a feature map or of weights, on the CPU and on the accelerator: one 512-bit vector of float32,
16 bytes of a scratchpad. Fixed by the layouts of the IR and by the instruction set, not by a machine file."""

CARD_LIMIT = 16
"""Cards that messages from one to another can name."""
