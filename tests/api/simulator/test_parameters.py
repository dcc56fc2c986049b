"""The parameter classes: spellings, defaults, and what is refused where the object is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tilewright.runtime.api.simulator.schema.base import (
    GetInferenceSessionParameters,
    InferenceCheckerParameters,
    InferenceRunnerParameters,
    InferenceSessionParameters,
    LayerwiseCheckerParameters,
    ParameterWarning,
)

RUN: dict[str, Any] = {"input_model_path": "a.onnx", "input_data_path": "DATA"}
CHECK: dict[str, Any] = {"input_model_path_0": "a.onnx", "input_model_path_1": "b.onnx", "input_data_path": "DATA"}
LAYERS: dict[str, Any] = {**CHECK, "layer_match_info": [("a", "b")]}


def test_defaults_of_a_run() -> None:
    parameters = InferenceRunnerParameters(**RUN)
    assert parameters.model_dump() == {
        "input_model_path": "a.onnx",
        "input_encodings_path": None,
        "use_cuda": False,
        "input_data_path": "DATA",
        "layerwise_check_name": [],
    }
    assert GetInferenceSessionParameters is InferenceSessionParameters


def test_defaults_of_a_comparison() -> None:
    assert LayerwiseCheckerParameters(**LAYERS).model_dump() == {
        "input_model_path_0": "a.onnx",
        "input_encodings_path_0": None,
        "input_model_path_1": "b.onnx",
        "input_encodings_path_1": None,
        "input_data_path": "DATA",
        "metric": "snr",
        "threshold": 30.0,
        "use_cuda": False,
        "layer_match_info": [("a", "b")],
        "export_featuremap": False,
        "export_featuremap_path": None,
    }


def test_misspelt_names_of_the_documentation_are_aliases() -> None:
    session = InferenceSessionParameters.model_validate({"input_model_path": "a", "input_encondings_path": "e"})
    assert session.input_encodings_path == "e"
    checker = InferenceCheckerParameters.model_validate(
        {
            "input_model_path0": "a",
            "input_encondings_path_0": "e",
            "input_model_path1": "b",
            "input_encondings_path1": "f",
            "input_data_path": "d",
            "meric": "rmse",
            "threshold": 1,
        }
    )
    assert (checker.input_model_path_0, checker.input_model_path_1) == ("a", "b")
    assert (checker.input_encodings_path_0, checker.input_encodings_path_1) == ("e", "f")
    assert (checker.metric, checker.threshold) == ("rmse", 1.0)


def test_paths_are_texts_or_path_objects_and_no_encodings_are_none() -> None:
    parameters = InferenceRunnerParameters(**{**RUN, "input_data_path": Path("DATA"), "input_encodings_path": ""})
    assert parameters.input_data_path == "DATA"
    assert parameters.input_encodings_path is None


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        (InferenceRunnerParameters, {"input_model_path": "a.onnx"}, "input_data_path\n  Field required"),
        (InferenceSessionParameters, {}, "input_model_path\n  Field required"),
        (InferenceSessionParameters, {"input_model_path": 3}, "Input should be a valid string"),
        (InferenceSessionParameters, {"input_model_path": ""}, "at least 1 character"),
        (InferenceSessionParameters, {"input_model_path": "a", "use_cuda": "DATA"}, "Input should be a valid boolean"),
        (InferenceRunnerParameters, {**RUN, "layerwise_check_name": "conv"}, "Input should be a valid list"),
        (InferenceCheckerParameters, {**CHECK, "metric": "sne"}, "unknown metric 'sne': expected one of snr, psnr,"),
        (InferenceCheckerParameters, {**CHECK, "metric": 3}, "Input should be a valid string"),
        (InferenceCheckerParameters, {**CHECK, "metric": "rmse"}, "metric 'rmse' needs a threshold"),
        (InferenceCheckerParameters, {**CHECK, "threshold": "much"}, "Input should be a valid number"),
        (InferenceCheckerParameters, {**CHECK, "threshold": float("nan")}, "metric 'snr' needs a threshold"),
        (LayerwiseCheckerParameters, CHECK, "layer_match_info\n  Field required"),
        (LayerwiseCheckerParameters, {**LAYERS, "layer_match_info": []}, "at least 1 item"),
        (
            LayerwiseCheckerParameters,
            {**LAYERS, "layer_match_info": [("a",)]},
            "layer_match_info.0.1\n  Field required",
        ),
        (
            LayerwiseCheckerParameters,
            {**LAYERS, "layer_match_info": [("a", "x"), ("b", "x")]},
            "layer_match_info names tensors of the second model twice: x",
        ),
        (LayerwiseCheckerParameters, {**LAYERS, "export_featuremap": True}, "needs an export_featuremap_path"),
    ],
)
def test_what_is_refused(kind: type[InferenceSessionParameters], given: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError) as error:
        kind.model_validate(given)
    assert text in str(error.value)


def test_what_is_assigned_is_checked_too() -> None:
    parameters = InferenceCheckerParameters(**CHECK)
    parameters.use_cuda = True
    with pytest.raises(ValidationError):
        parameters.metric = "sne"
    assert parameters.metric == "snr"


def test_fields_of_other_names_are_ignored_with_a_warning() -> None:
    with pytest.warns(
        ParameterWarning, match="has no field 'layerwise_check_names', which is ignored; it has input_"
    ) as found:
        InferenceRunnerParameters.model_validate({**RUN, "layerwise_check_names": ["conv"]})
    assert [warning.filename for warning in found] == [__file__]


def test_without_pydantic_the_message_says_what_to_install() -> None:
    program = "import sys; sys.modules['pydantic'] = None; import tilewright.runtime.api.simulator.api"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.stderr.splitlines()[-1] == (
        "ImportError: the Simulator API needs the package 'pydantic', which the runtime alone does not install. "
        "Install Tilewright with its extra 'simulator': pip install 'tilewright[simulator]'"
    )
