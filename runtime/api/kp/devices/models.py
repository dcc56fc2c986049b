"""Models on a device, ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tilewright.errors import TilewrightError, UsageError

from ....artifact.artifact import Artifact
from ....execution.device import check_machine
from ....machines.machine import Machine
from ...network import open_session
from ..container.model import ContainedModel
from ..container.reading import read_container
from ..refusal import Refusal
from ..results.layout import facts_of, raw_size
from ..return_codes import ApiReturnCode
from ..values.models import ModelNefDescriptor
from .descriptor import describe_container
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
        self.facts = [facts_of(node) for node in model.outputs]
        self.raw_size = raw_size(product.id, self.facts)
        self._session = open_session(artifact)

    def run(self, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """int8[channel, height, width] of each output, for int8[1, channels, rows, columns] of each input by name.

        Raises:
            TilewrightError: as `Session.run`.
        """
        outputs = self._session.run(values)
        return [outputs[node.name].reshape(node.shape[1:]) for node in self.outputs]


@dataclass(frozen=True)
class Loaded:
    """The models of a container on a device.

    Attributes:
        models: by their ids.
        descriptor: what the API tells of them.
    """

    models: Mapping[int, LoadedModel]
    descriptor: ModelNefDescriptor


def load_models(content: bytes, product: Product, machine: Machine | None) -> Loaded:
    """Load a container.

    Raises:
        Refusal: `KP_ERROR_INVALID_MODEL_21`, it is damaged, or none of ours, or for another product or another machine.
    """
    try:
        container = read_container(content)
        if container.target != product.name:
            raise UsageError(
                "the models are for another kind of device",
                expected=product.name,
                found=container.target,
                hint=f"Connect a {container.target} by its port, or compile them with --kp-target {product.name}.",
            )
        models = {model.id: LoadedModel(model, product, machine) for model in container.models}
    except TilewrightError as error:
        raise Refusal(ApiReturnCode.KP_ERROR_INVALID_MODEL_21, str(error)) from error
    sizes = [models[model.id].raw_size for model in container.models]
    return Loaded(models, describe_container(container, sizes, product.chip))
