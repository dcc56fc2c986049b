"""The calls of the Simulator API, as functions of this module and as methods of `Simulator`.

Each takes an object of one of the parameter classes, which are here too. Metrics are those of
`tilewright.runtime.api.simulator.metrics`: ``snr``, ``psnr``, ``cosine``, ``rmse``, ``mse``, ``mae`` and ``max_abs``.
Samples are read, run and compared one at a time; on a terminal a bar shows how far the work is.

Original: the containers that calls return are undocumented, and so are all metrics but ``snr``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from tilewright.errors import UsageError

from .cuda import cuda_sums
from .inference import Comparison, Tensors, compare_on_data, run_on_data
from .input_data import InputData, NodeArg
from .schema.base import (
    GetInferenceSessionParameters,
    InferenceCheckerParameters,
    InferenceRunnerParameters,
    InferenceSessionParameters,
    LayerwiseCheckerParameters,
    ParameterWarning,
)
from .session import QuantizationSession, open_session

__all__ = ["GetInferenceSessionParameters", "InferenceCheckerParameters", "InferenceRunnerParameters"]
__all__ += ["InferenceSessionParameters", "InputData", "LayerwiseCheckerParameters", "NodeArg", "ParameterWarning"]
__all__ += ["QuantizationSession", "QuantizationSim", "Simulator", "compare_model_by_inference"]
__all__ += ["compare_model_by_layer", "get_inference_session", "get_quantization_sim", "load_input_data"]
__all__ += ["run_inference"]

_Parameters = TypeVar("_Parameters")


class QuantizationSim:
    """A network with simulated quantisation.
    ``session``: what runs it."""

    def __init__(self, session: QuantizationSession) -> None:
        self.session = session


def run_inference(parameters: InferenceRunnerParameters) -> dict[str, Tensors]:
    """Run a network on every sample.

    Returned are the tensors by name, by name of the sample: the outputs in the order of the graph, then the feature
    maps that ``layerwise_check_name`` asks for, in its order, as the operators after them read them. Names are those of
    the model, without ``_updated``.

    Raises:
        UsageError: the parameters are of another class.
        TilewrightError: a model, encodings or data are wrong, or a feature map is not in the model; names the file.
    """
    chosen = _checked("run_inference", parameters, InferenceRunnerParameters)
    return run_on_data(
        chosen.input_model_path,
        chosen.input_encodings_path,
        chosen.input_data_path,
        chosen.layerwise_check_name,
        use_cuda=chosen.use_cuda,
    )


def get_inference_session(parameters: InferenceSessionParameters) -> QuantizationSession:
    """A session as onnxruntime's: ``run(names, feeds)``, ``get_inputs()`` and ``get_outputs()``.

    Raises:
        UsageError: the parameters are of another class.
        TilewrightError: the model or the encodings are wrong; names the file.
    """
    chosen = _checked("get_inference_session", parameters, InferenceSessionParameters)
    if chosen.use_cuda:
        cuda_sums()
    return open_session(chosen.input_model_path, chosen.input_encodings_path)


def get_quantization_sim(parameters: InferenceSessionParameters) -> QuantizationSim:
    """What `get_inference_session` returns, as the attribute ``session`` of an object.

    Raises:
        UsageError, TilewrightError: as `get_inference_session`.
    """
    return QuantizationSim(
        get_inference_session(_checked("get_quantization_sim", parameters, InferenceSessionParameters))
    )


def compare_model_by_inference(parameters: InferenceCheckerParameters) -> Comparison:
    """Compare the outputs of two networks on every sample.

    Outputs are paired by name where both networks have the same, otherwise in the order of the graphs; so are inputs.

    Returned is, by name of the sample, whether every output passes, and the metric by name of the second network's
    output.

    Raises:
        UsageError: the parameters are of another class.
        InputError: the networks have different inputs or numbers of outputs, or outputs are of different shapes.
        TilewrightError: a model, encodings or data are wrong; names the file.
    """
    chosen = _checked("compare_model_by_inference", parameters, InferenceCheckerParameters)
    return _compare(chosen, None)


def compare_model_by_layer(parameters: LayerwiseCheckerParameters) -> Comparison:
    """Compare pairs of tensors of two networks on every sample.

    With ``export_featuremap`` the tensors are written as they are computed, each sample's into
    ``model_0/SAMPLE.npz`` and ``model_1/SAMPLE.npz`` below ``export_featuremap_path``.

    Returned is, by name of the sample, whether every pair passes, and the metric by name of the second network's
    tensor.

    Raises:
        UsageError, InputError, TilewrightError: as `compare_model_by_inference`, or a tensor is not in its model.
        OutputError: a file cannot be written.
    """
    chosen = _checked("compare_model_by_layer", parameters, LayerwiseCheckerParameters)
    return _compare(
        chosen, chosen.layer_match_info, chosen.export_featuremap_path if chosen.export_featuremap else None
    )


def load_input_data(input_data_path: str | os.PathLike[str], inputs: Sequence[NodeArg] | None = None) -> InputData:
    """The samples of a data set by name, each a dictionary of arrays by name of the input, read when it is asked for.

    Args:
        input_data_path: a folder or a file, as `tilewright.runtime.api.simulator.input_data` says.
        inputs: what ``get_inputs()`` of a session returns: arrays are divided and converted for it. Without, each file
            is one sample as it is stored.

    Raises:
        InputError: there is nothing there, or it does not fit the inputs; names the file.
        NotInstalledError: a file is a ``.h5``, and h5py is not installed.
    """
    return InputData(input_data_path, inputs)


class Simulator:
    """The calls as methods, which need no object."""

    run_inference = staticmethod(run_inference)
    get_inference_session = staticmethod(get_inference_session)
    get_quantization_sim = staticmethod(get_quantization_sim)
    compare_model_by_inference = staticmethod(compare_model_by_inference)
    compare_model_by_layer = staticmethod(compare_model_by_layer)
    load_input_data = staticmethod(load_input_data)


def _compare(
    chosen: InferenceCheckerParameters, pairs: Sequence[tuple[str, str]] | None, export: str | None = None
) -> Comparison:
    return compare_on_data(
        (chosen.input_model_path_0, chosen.input_model_path_1),
        (chosen.input_encodings_path_0, chosen.input_encodings_path_1),
        chosen.input_data_path,
        pairs,
        metric=chosen.metric,
        threshold=chosen.threshold,
        export=export,
        use_cuda=chosen.use_cuda,
    )


def _checked(call: str, parameters: object, kind: type[_Parameters]) -> _Parameters:
    if not isinstance(parameters, kind):
        expected, found = f"an object of {kind.__name__}", type(parameters).__name__
        raise UsageError(f"{call} was given other parameters", expected=expected, found=found)
    return parameters
