"""What is known of each product."""

from __future__ import annotations

from dataclasses import dataclass

from ..enums import ModelTargetChip, ProductId, UsbSpeed
from ..preprocessing.pipeline import Abilities


@dataclass(frozen=True)
class Product:
    """A kind of device.

    Attributes:
        name: as environments and containers have it.
        id: its USB product number.
        chip: which models are for it.
        speed: of its USB link.
        firmware: what runs on it when it is plugged in.
        abilities: what its preprocessing can do.
        kn_number: serial numbers start with it.
    """

    name: str
    id: ProductId
    chip: ModelTargetChip
    speed: UsbSpeed
    firmware: str
    abilities: Abilities
    kn_number: int


LOADER, FROM_USB, FROM_FLASH = "KDP2 Loader", "KDP2 Comp/U", "KDP2 Comp/F"
"""Firmware: waiting to be given one, given one over USB, started from flash."""

_KL520 = Product(
    "KL520",
    ProductId.KP_DEVICE_KL520,
    ModelTargetChip.KP_MODEL_TARGET_CHIP_KL520,
    UsbSpeed.KP_USB_SPEED_HIGH,
    LOADER,
    Abilities(width_multiple=4, padding=127),
    0x52000000,
)
_KL720 = Product(
    "KL720",
    ProductId.KP_DEVICE_KL720,
    ModelTargetChip.KP_MODEL_TARGET_CHIP_KL720,
    UsbSpeed.KP_USB_SPEED_SUPER,
    FROM_FLASH,
    Abilities(width_multiple=1, padding=255),
    0x72000000,
)

PRODUCTS = {product.name: product for product in (_KL520, _KL720)}
