"""The modules that programs import, and what stands in for them here: the one table."""

from __future__ import annotations

API = __name__.rsplit(".", 2)[0]
"""The package that holds the APIs."""

BOUND = {
    "fwdnxt": "accelerator",
    "microndla": "accelerator",
    "microndla.microndla": "accelerator",
    "pynq": "pynq",
    "pynq.pmbus": "pynq.pmbus",
    "simulator": "simulator",
    "simulator.api": "simulator.api",
    "simulator.schema": "simulator.schema",
    "simulator.schema.base": "simulator.schema.base",
    "openvino.inference_engine": "inference_engine",
    "openvino.inference_engine.ie_api": "inference_engine",
    "openvino.inference_engine.constants": "inference_engine.constants",
    "inference_engine": "inference_engine",
    "kp": "kp",
    "kp.KPBaseClass": "kp.members",
    "kp.KPBaseClass.ValueBase": "kp.members",
    "kp.KPConstant": "kp.enums",
    "kp.KPEnum": "kp.enums",
    "kp.KPException": "kp.exceptions",
    "kp.KPValue": "kp.values",
    "kp.Legacy": "kp",
    "kp.Legacy.V1": "kp",
    "kp.Legacy.V1.KPValue": "kp.values",
    "kp.core": "kp.core",
    "kp.inference": "kp.inference",
    "kp.v1": "kp",
    "kp.v1.inference": "kp.inference",
}
"""Module as programs know it: module below `API`. A package that is not there is an API yet to be implemented."""

SHARED = {name.partition(".")[0] for name in BOUND} - BOUND.keys()
"""Packages that keep what is installed under their name and are given modules of ours."""


def stands_for(name: str) -> str:
    """The full name of the module that stands in for ``name``, which is in `BOUND`."""
    return f"{API}.{BOUND[name]}"


def is_package(name: str) -> bool:
    """Whether names below ``name`` are bound, too."""
    return any(other.startswith(f"{name}.") for other in BOUND)
