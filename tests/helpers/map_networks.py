"""Networks on maps of one size, as text: for tests of what happens to neighbouring ops on the device."""

from __future__ import annotations

import re

import numpy as np
from before_after import parse

from tilewright.ir.annotations import ON
from tilewright.ir.core import Module

MAP = "i8[{images},{channels},{rows},{columns}]<s=0x1.0p-4, z=3>"


def network(
    middle: str, *, rng: np.random.Generator, images: int = 1, rows: int = 6, columns: int = 5, channels: int = 20
) -> Module:
    """Operands %x and %o, ops that make %y, and weights for them; MAP is the type of all maps of this size."""
    map = MAP.format(images=images, channels=channels, rows=rows, columns=columns)
    sizes = {"w": (channels, channels, 1, 1), "k": (channels, channels, 3, 3), "d": (channels, 1, 3, 3)}
    weights = "\n".join(
        f"const @{name} : i8{[*shape]}<s=0x1.0p-6, z=0> = {rng.integers(-9, 9, shape).ravel().tolist()}"
        for name, shape in sizes.items()
        if re.search(rf"@{name}\b", middle)
    )
    text = f"""
    {weights}
    func @main(%x: {map}, %o: {map}) -> (%y: {map}) {{
      {middle.replace("MAP", map)}
      return %y
    }}
    """
    module = parse(text)
    ON.set(module.main, "device")
    for op in module.main.ops:
        ON.set(op, "device")
    return module


def conv(pad: int = 0, group: int = 1) -> str:
    sizes = f"strides=[1, 1], pads=[{pad}, {pad}, {pad}, {pad}], dilations=[1, 1]"
    return f'{{{sizes}, group={group}, act="none", act_args=[]}}'
