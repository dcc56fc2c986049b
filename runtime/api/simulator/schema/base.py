"""The parameter classes of the Simulator API, as pydantic models.

What is missing, of a wrong type or contradictory raises `pydantic.ValidationError` where the object is made, and also
where a field is assigned to. Fields are spelled as the documented examples have them; the spellings of the documented
text (``input_model_path0``, ``input_encondings_path``, ``meric``) name the same fields. A field of another name is
ignored with a `ParameterWarning`. Paths may be given as `os.PathLike` too. An ``input_encodings_path`` that is left
out, None or empty stands for a file without encodings: every tensor stays float.

Original: the defaults are undocumented, and fields of other names are ignored without a word.
"""

from __future__ import annotations

import math
import os
from typing import Annotated

from tilewright.errors import TilewrightWarning, warn

from ....compiler import NotInstalledError
from ..inference import named_twice
from ..metrics import METRICS, default_threshold, metric_name

try:
    from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
except ModuleNotFoundError:
    raise ImportError(str(NotInstalledError("the Simulator API", "pydantic"))) from None

__all__ = ["GetInferenceSessionParameters", "InferenceCheckerParameters", "InferenceRunnerParameters"]
__all__ += ["InferenceSessionParameters", "LayerwiseCheckerParameters", "ParameterWarning"]


class ParameterWarning(TilewrightWarning):
    """A parameter object was given a field that its class does not have."""


def _path(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _known_metric(value: object) -> object:
    if not isinstance(value, str):
        return value
    name = metric_name(value)
    if name is None:
        raise ValueError(f"unknown metric {value!r}: expected one of {', '.join(METRICS)}")
    return name


_Path = Annotated[str, Field(min_length=1), BeforeValidator(_path)]
_OptionalPath = Annotated[str | None, BeforeValidator(lambda value: None if value == "" else _path(value))]
_Metric = Annotated[str, BeforeValidator(_known_metric)]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="allow", validate_assignment=True, protected_namespaces=())

    @model_validator(mode="after")
    def _others_are_ignored(self) -> _Parameters:
        for name in self.model_extra or ():
            known = ", ".join(type(self).model_fields)
            warn(f"{type(self).__name__} has no field {name!r}, which is ignored; it has {known}", ParameterWarning)
        return self


class InferenceSessionParameters(_Parameters):
    """One network, as `get_inference_session` and `get_quantization_sim` take it.

    Attributes:
        input_model_path: the ``.onnx`` file; to run on data, an artifact does as well.
        input_encodings_path: its ``.encodings`` file.
        use_cuda: whether to compare on an NVIDIA GPU, as `tilewright.runtime.api.simulator.cuda` says.
    """

    input_model_path: _Path
    input_encodings_path: _OptionalPath = Field(
        default=None, validation_alias=AliasChoices("input_encodings_path", "input_encondings_path")
    )
    use_cuda: bool = False


GetInferenceSessionParameters = InferenceSessionParameters


class InferenceRunnerParameters(InferenceSessionParameters):
    """One network and data for it, as `run_inference` takes them.

    Attributes:
        input_data_path: a folder or a file, as `tilewright.runtime.api.simulator.input_data` says.
        layerwise_check_name: tensors of the network to return beside the outputs.
    """

    input_data_path: _Path
    layerwise_check_name: list[str] = Field(default_factory=list)


class InferenceCheckerParameters(_Parameters):
    """Two networks, of which the first is the reference, data for both and what to compare them by, as
    `compare_model_by_inference` takes them.

    Attributes:
        input_model_path_0: the reference's ``.onnx`` file, or an artifact.
        input_encodings_path_0: its ``.encodings`` file.
        input_model_path_1: the other's ``.onnx`` file, or an artifact.
        input_encodings_path_1: its ``.encodings`` file.
        input_data_path: a folder or a file, as `tilewright.runtime.api.simulator.input_data` says.
        metric: a name of `METRICS`, in letters of either case.
        threshold: what the metric has to reach or must not pass; 30 dB for ``snr`` if not given, and to be given for
            all others.
        use_cuda: whether to compare on an NVIDIA GPU, as `tilewright.runtime.api.simulator.cuda` says.
    """

    input_model_path_0: _Path = Field(validation_alias=AliasChoices("input_model_path_0", "input_model_path0"))
    input_encodings_path_0: _OptionalPath = Field(
        default=None,
        validation_alias=AliasChoices(
            "input_encodings_path_0", "input_encodings_path0", "input_encondings_path_0", "input_encondings_path0"
        ),
    )
    input_model_path_1: _Path = Field(validation_alias=AliasChoices("input_model_path_1", "input_model_path1"))
    input_encodings_path_1: _OptionalPath = Field(
        default=None,
        validation_alias=AliasChoices(
            "input_encodings_path_1", "input_encodings_path1", "input_encondings_path_1", "input_encondings_path1"
        ),
    )
    input_data_path: _Path
    metric: _Metric = Field(default="snr", validation_alias=AliasChoices("metric", "meric"))
    threshold: float = Field(default_factory=lambda fields: default_threshold(fields.get("metric")))
    use_cuda: bool = False

    @model_validator(mode="after")
    def _threshold_is_known(self) -> InferenceCheckerParameters:
        if math.isnan(self.threshold):
            raise ValueError(f"metric {self.metric!r} needs a threshold")
        return self


class LayerwiseCheckerParameters(InferenceCheckerParameters):
    """Two networks and pairs of their tensors, as `compare_model_by_layer` takes them.

    Attributes:
        layer_match_info: pairs (tensor of the reference, tensor of the other).
        export_featuremap: whether the tensors are written to files.
        export_featuremap_path: the folder for them, which is made where it is not there.
    """

    layer_match_info: list[tuple[str, str]] = Field(min_length=1)
    export_featuremap: bool = False
    export_featuremap_path: _OptionalPath = None

    @model_validator(mode="after")
    def _pairs_and_folder_are_usable(self) -> LayerwiseCheckerParameters:
        if twice := named_twice(self.layer_match_info):
            raise ValueError(f"layer_match_info names tensors of the second model twice: {', '.join(twice)}")
        if self.export_featuremap and self.export_featuremap_path is None:
            raise ValueError("export_featuremap needs an export_featuremap_path")
        return self
