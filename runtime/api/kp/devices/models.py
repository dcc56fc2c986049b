"""Models on a device, ready to run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tilewright.errors import TilewrightError

from ....artifact.artifact import Artifact
from ....device import check_machine
from ....machine import Machine
from ...network import open_session
from ..container.model import ContainedModel, Container, Node
from ..refusal import Refusal
from ..results.layout import NodeFacts, raw_size
from ..return_codes import ApiReturnCode
from .product import Product


class LoadedModel:
    """A model of a container, loaded for a product.

    Attributes:
        id: by which programs name it.
        inputs, outputs: its nodes.
        product: what it runs on.
        facts: what raw results say of the outputs.
        raw_size: bytes of a raw result.
    """

    def __init__(self, model: ContainedModel, product: Product, machine: Machine | None) -> None:
        artifact = Artifact.open(model.artifact)
        if machine is not None and "device" in artifact.manifest.engines:
            check_machine(artifact, artifact.manifest.engines["device"], machine)
        self.id = model.id
        self.inputs, self.outputs = model.inputs, model.outputs
        self.product = product
        self.facts = [_facts(node) for node in model.outputs]
        self.raw_size = raw_size(product.id, self.facts)
        self._session = open_session(artifact)

    def run(self, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """int8[channel, height, width] of each output, for int8[1, channels, rows, columns] of each input by name.

        Raises:
            TilewrightError: as `Session.run`.
        """
        outputs = self._session.run(values)
        return [outputs[node.name].reshape(node.shape[1:]) for node in self.outputs]


def _facts(node: Node) -> NodeFacts:
    _, channel, height, width = node.shape
    return NodeFacts(channel, height, width, node.radix, node.scale)


def load_models(container: Container, product: Product, machine: Machine | None) -> dict[int, LoadedModel]:
    """The models of a container by their ids.

    Raises:
        Refusal: `KP_ERROR_INVALID_MODEL_21`, they are for another product or another machine, or damaged.
    """
    if container.target != product.name:
        raise _invalid(
            "the models are for another kind of device",
            expected=product.name,
            found=container.target,
            hint=f"Connect a {container.target} by its port, or compile them with --kp-target {product.name}.",
        )
    try:
        return {model.id: LoadedModel(model, product, machine) for model in container.models}
    except TilewrightError as error:
        raise _invalid(str(error)) from error


def _invalid(message: str, **details: object) -> Refusal:
    return Refusal(ApiReturnCode.KP_ERROR_INVALID_MODEL_21, message, **details)  # pyright: ignore[reportArgumentType]
