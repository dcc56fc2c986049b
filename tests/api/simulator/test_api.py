"""The calls of the Simulator API: what they return, beside NumPy and onnxruntime, and every error that they end in."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from network_files import graph_model, write_model
from onnx import TensorProto, helper

from tilewright.errors import InputError, ModelError, OutputError, ResourceError, UsageError
from tilewright.runtime.api.simulator import api
from tilewright.runtime.api.simulator.schema import base
from tilewright.runtime.api.simulator.session import QuantizationSession
from tilewright.runtime.files.array_file import StoredArray

Network = Callable[..., str]

NAMES = ["first", "more[0]", "more[1]"]


def float_outputs(model: str, samples: Path, *names: str) -> dict[str, list[np.ndarray]]:
    """What onnxruntime computes, by sample."""
    session = onnxruntime.InferenceSession(model)
    stacks = {"first": np.load(samples / "first.npz")["x"]}
    stacks |= {f"more[{index}]": row[np.newaxis] for index, row in enumerate(np.load(samples / "more.npz")["x"])}
    return {name: [np.asarray(each) for each in session.run(list(names), {"x": x})] for name, x in stacks.items()}


def rounded(x: np.ndarray) -> np.ndarray:
    """The grid of the fixture `encodings`, in float32 as documented."""
    scale = np.float32(1 / 16)
    return ((np.clip(np.rint(x / scale) + 128, 0, 255) - 128) * scale).astype(np.float32)


def test_functions_are_methods_too_and_classes_are_in_both_modules() -> None:
    for name in api.__all__:
        if name.startswith(("run_", "get_", "compare_", "load_")):
            assert getattr(api.Simulator, name) is getattr(api, name)
            assert getattr(api.Simulator(), name) is getattr(api, name)
        if name.endswith("Parameters"):
            assert getattr(base, name) is getattr(api, name)


def test_run_inference_returns_outputs_then_feature_maps(network: Network, samples: Path) -> None:
    model = network()
    parameters = api.InferenceRunnerParameters(
        input_model_path=model, input_data_path=str(samples), layerwise_check_name=["h", "z", "x"]
    )
    found = api.Simulator.run_inference(parameters)
    assert list(found) == NAMES
    expected = float_outputs(model, samples, "y", "z")
    for sample, tensors in found.items():
        assert list(tensors) == ["y", "z", "h", "x"]
        for name, array in zip(("y", "z"), expected[sample], strict=True):
            np.testing.assert_allclose(tensors[name], array, rtol=1e-6)
        np.testing.assert_array_equal(tensors["y"], np.maximum(tensors["h"], 0))


def test_feature_maps_are_what_the_next_operator_reads(network: Network, encodings: str, samples: Path) -> None:
    found = api.run_inference(
        api.InferenceRunnerParameters(
            input_model_path=network(),
            input_encodings_path=encodings,
            input_data_path=str(samples),
            layerwise_check_name=["x", "h"],
        )
    )
    floats = api.load_input_data(samples)
    np.testing.assert_array_equal(found["first"]["x"], rounded(floats["first"]["x"]))
    for tensors in found.values():
        np.testing.assert_array_equal(tensors["h"], rounded(tensors["h"]))
        np.testing.assert_array_equal(tensors["y"], np.maximum(tensors["h"], 0))


def test_sessions_have_the_names_of_the_original(network: Network, encodings: str) -> None:
    parameters = api.InferenceSessionParameters(input_model_path=network(), input_encodings_path=encodings)
    session = api.get_quantization_sim(parameters).session
    assert [output.name for output in session.get_outputs()] == ["y_updated", "z"]
    feeds = {"x": np.ones((1, 3), np.float32)}
    other = api.Simulator.get_inference_session(parameters)
    for mine, theirs in zip(session.run(None, feeds), other.run(["y", "z"], feeds), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_data_feeds_a_session(network: Network, samples: Path) -> None:
    session = api.get_inference_session(api.InferenceSessionParameters(input_model_path=network()))
    data = api.load_input_data(samples, session.get_inputs())
    assert [session.run(["y"], feeds)[0].shape for feeds in data.values()] == [(1, 4)] * 3


def check(network: Network, samples: Path, **given: Any) -> api.InferenceCheckerParameters:
    first = given.pop("first", None) or network("first")
    second = given.pop("second", None) or network("second", noise=0.01)
    return api.InferenceCheckerParameters(
        input_model_path_0=first, input_model_path_1=second, input_data_path=str(samples), **given
    )


def test_outputs_are_compared(network: Network, samples: Path) -> None:
    parameters = check(network, samples, metric="SNR", threshold=30)
    expected = float_outputs(parameters.input_model_path_0, samples, "y", "z")
    others = float_outputs(parameters.input_model_path_1, samples, "y", "z")
    found = api.Simulator.compare_model_by_inference(parameters)
    assert list(found) == NAMES
    for sample, (passed, values) in found.items():
        snr = {
            name: 10 * math.log10(np.sum(a.astype("f8") ** 2) / np.sum((a.astype("f8") - b) ** 2))
            for name, a, b in zip(("y", "z"), expected[sample], others[sample], strict=True)
        }
        assert values == pytest.approx(snr, rel=1e-4)
        assert passed is all(value >= 30 for value in snr.values())


def test_a_network_equals_itself(network: Network, samples: Path) -> None:
    model = network()
    found = api.compare_model_by_inference(check(network, samples, first=model, second=model, threshold=100))
    assert found == {name: (True, {"y": math.inf, "z": math.inf}) for name in NAMES}


def test_the_verdict_follows_the_direction_of_the_metric(network: Network, samples: Path) -> None:
    for metric, threshold in (("snr", 200), ("rmse", 1e-9)):
        found = api.compare_model_by_inference(check(network, samples, metric=metric, threshold=threshold))
        assert not any(passed for passed, _ in found.values())
    found = api.compare_model_by_inference(check(network, samples, metric="rmse", threshold=10))
    assert all(passed for passed, _ in found.values())


def test_renamed_networks_pair_by_position(network: Network, samples: Path) -> None:
    parameters = check(network, samples, second=network("renamed", prefix="new_"))
    found = api.compare_model_by_inference(parameters)
    assert found == {name: (True, {"new_y": math.inf, "new_z": math.inf}) for name in NAMES}


def test_outputs_in_another_order_pair_by_name(network: Network, samples: Path) -> None:
    found = api.compare_model_by_inference(check(network, samples, second=network("other", outputs=("z", "y"))))
    assert found == {name: (True, {"z": math.inf, "y": math.inf}) for name in NAMES}


@pytest.mark.parametrize("batches", [(1, "N"), ("N", 1), ("N", "M")])
def test_dimensions_that_models_leave_open_do_not_matter(
    network: Network, samples: Path, batches: tuple[int | str, int | str]
) -> None:
    first, second = (network(f"model{index}", batch=batch) for index, batch in enumerate(batches))
    found = api.compare_model_by_inference(check(network, samples, first=first, second=second))
    assert found == {name: (True, {"y": math.inf, "z": math.inf}) for name in NAMES}


def test_threads_do_not_meet(network: Network, samples: Path) -> None:
    parameters = [check(network, samples, second=network(f"m{index}", noise=0.01 * index)) for index in range(4)]
    expected = [api.compare_model_by_inference(each) for each in parameters]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(api.compare_model_by_inference, parameters * 3)) == expected * 3


def test_a_network_of_half_precision_takes_the_same_samples(network: Network, samples: Path) -> None:
    half = network("half", type=TensorProto.FLOAT16)
    found = api.compare_model_by_inference(check(network, samples, second=half, threshold=40))
    assert all(passed and max(values.values()) < math.inf for passed, values in found.values())


def layers(network: Network, samples: Path, **given: Any) -> api.LayerwiseCheckerParameters:
    given = {"layer_match_info": [("h", "new_h"), ("y", "new_y")], "metric": "max_abs", "threshold": 0.5, **given}
    return api.LayerwiseCheckerParameters(
        input_model_path_0=network("first"),
        input_model_path_1=network("second", noise=0.01, prefix="new_"),
        input_data_path=str(samples),
        **given,
    )


def test_layers_are_compared_and_exported(network: Network, samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "maps"
    parameters = layers(network, samples, export_featuremap=True, export_featuremap_path=folder)
    found = api.compare_model_by_layer(parameters)
    assert list(found) == NAMES
    for sample, (passed, values) in found.items():
        assert passed is True and list(values) == ["new_h", "new_y"]
        with (
            np.load(folder / "model_0" / f"{sample}.npz") as first,
            np.load(folder / "model_1" / f"{sample}.npz") as second,
        ):
            assert (first.files, second.files) == (["h", "y"], ["new_h", "new_y"])
            for name in ("h", "y"):
                assert values[f"new_{name}"] == np.max(np.abs(first[name].astype("f8") - second[f"new_{name}"]))


def test_nothing_is_exported_unless_asked(network: Network, samples: Path, tmp_path: Path) -> None:
    api.Simulator.compare_model_by_layer(layers(network, samples, export_featuremap_path=tmp_path / "maps"))
    assert not (tmp_path / "maps").exists()


def test_one_tensor_may_be_compared_with_several(network: Network, samples: Path) -> None:
    found = api.compare_model_by_layer(layers(network, samples, layer_match_info=[("y", "new_h"), ("y", "new_y")]))
    assert list(found["first"][1]) == ["new_h", "new_y"]


def test_all_pairs_must_pass(network: Network, samples: Path) -> None:
    pairs = [("h", "new_h"), ("h", "new_y")]
    found = api.compare_model_by_layer(layers(network, samples, layer_match_info=pairs, threshold=0.5))
    assert any(min(values.values()) <= 0.5 < max(values.values()) for _, values in found.values())
    assert all(passed is (max(values.values()) <= 0.5) for passed, values in found.values())


def test_data_of_a_large_set_are_read_one_sample_at_a_time(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "many.npy", np.zeros((1000, 3), np.float32))
    first = network("first")
    parameters = check(network, tmp_path / "many.npy", first=first, second=first)
    read = run = 0

    def counted(self: object, *which: int, blocks: Any = StoredArray.blocks) -> Any:
        nonlocal read
        for block in blocks(self, *which):
            read += 1
            yield block

    def watched(self: object, *arguments: Any, call: Any = QuantizationSession.run) -> Any:
        nonlocal run
        run += 1
        assert read <= run // 2 + 1
        return call(self, *arguments)

    monkeypatch.setattr(StoredArray, "blocks", counted)
    monkeypatch.setattr(QuantizationSession, "run", watched)
    assert len(api.compare_model_by_inference(parameters)) == 1000


def refused(kind: type[Exception], call: Any, parameters: object) -> str:
    with pytest.raises(kind) as error:
        call(parameters)
    return str(error.value)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (api.run_inference, "InferenceRunnerParameters"),
        (api.get_inference_session, "InferenceSessionParameters"),
        (api.get_quantization_sim, "InferenceSessionParameters"),
        (api.compare_model_by_inference, "InferenceCheckerParameters"),
        (api.compare_model_by_layer, "LayerwiseCheckerParameters"),
    ],
)
def test_other_parameters(call: Any, expected: str) -> None:
    text = f"{call.__name__} was given other parameters; expected an object of {expected}, found dict"
    assert refused(UsageError, call, {}) == text


def test_files_that_are_not_there(network: Network, samples: Path, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    session = api.InferenceSessionParameters
    assert absent in refused(ModelError, api.get_inference_session, session(input_model_path=absent))
    parameters = session(input_model_path=network(), input_encodings_path=absent)
    assert refused(InputError, api.get_inference_session, parameters) == (
        f"cannot read {absent!r}: No such file or directory"
    )
    runner = api.InferenceRunnerParameters(input_model_path=network(), input_data_path=absent)
    assert refused(InputError, api.run_inference, runner).startswith(f"input data: there is no {absent!r}; expected a")


def test_tensors_that_are_not_there(network: Network, samples: Path) -> None:
    parameters = layers(network, samples, layer_match_info=[("h", "h")])
    text = f"the feature map is no tensor of {parameters.input_model_path_1!r}; found 'h'"
    assert refused(UsageError, api.compare_model_by_layer, parameters).startswith(text)
    model = parameters.input_model_path_1
    runner = api.InferenceRunnerParameters(
        input_model_path=model, input_data_path=str(samples), layerwise_check_name=["new_hh"]
    )
    assert refused(UsageError, api.run_inference, runner) == (
        f"the feature map is no tensor of {model!r}; found 'new_hh'. Did you mean 'new_h' or 'new_z' or 'new_y'?"
    )


def test_a_sample_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    model = str(
        write_model(
            tmp_path / "gather.onnx",
            graph_model(nodes, [("x", TensorProto.INT64, [1])], ["y"], {"table": np.zeros((5, 2), np.float32)}),
        )
    )
    data = tmp_path / "indices.npy"
    np.save(data, np.array([4, 3, 5]))
    runner = api.InferenceRunnerParameters(input_model_path=model, input_data_path=str(data))
    check = api.InferenceCheckerParameters(
        input_model_path_0=model, input_model_path_1=model, input_data_path=str(data), threshold=0
    )
    for call, parameters in ((api.run_inference, runner), (api.compare_model_by_inference, check)):
        assert ": sample 'indices[2]': " in refused(InputError, call, parameters)


def test_shapes_that_do_not_match(network: Network, samples: Path) -> None:
    parameters = layers(network, samples, layer_match_info=[("y", "new_y"), ("x", "new_h")])
    assert refused(InputError, api.compare_model_by_layer, parameters) == (
        "compare: tensors 'x' of model 0 and 'new_h' of model 1 cannot be compared on sample 'first'; "
        "expected the shape of the former, [1, 3], found [1, 4]. "
        "Name tensors that hold the same values in the same layout."
    )


def test_dimensions_of_1_do_not_matter(network: Network, samples: Path) -> None:
    parameters = layers(network, samples, layer_match_info=[("y", "new_z")])
    assert all(passed for passed, _ in api.compare_model_by_layer(parameters).values())


def test_networks_that_do_not_match(network: Network, samples: Path) -> None:
    parameters = check(network, samples, second=network("less", outputs=("y",)))
    assert refused(InputError, api.compare_model_by_inference, parameters) == (
        "compare: the models have different numbers of outputs; expected 2 as model 0: y, z, found 1 in model 1: y. "
        "Compare tensors that you name with compare_model_by_layer."
    )
    parameters = check(network, samples, second=network("wide", batch=2))
    assert refused(InputError, api.compare_model_by_inference, parameters) == (
        "input data: the models do not take the same samples; expected the inputs of model 0, x [1, 3], "
        "found those of model 1, x [2, 3]"
    )


def test_feature_maps_that_cannot_be_written(network: Network, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    parameters = layers(network, samples, export_featuremap=True, export_featuremap_path=tmp_path / "file")
    text = f"cannot write {os.fspath(tmp_path / 'file' / 'model_0')!r}: Not a directory"
    assert refused(OutputError, api.compare_model_by_layer, parameters).startswith(text)


def test_use_cuda_without_a_gpu(network: Network, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from numba import cuda

    monkeypatch.setattr(cuda, "is_available", lambda: False)
    model: dict[str, Any] = {"input_model_path": network(), "use_cuda": True}
    session = api.InferenceSessionParameters(**model)
    for call, parameters in (
        (api.get_inference_session, session),
        (api.get_quantization_sim, session),
        (api.run_inference, api.InferenceRunnerParameters(**model, input_data_path=str(samples))),
        (api.compare_model_by_inference, check(network, samples, use_cuda=True)),
        (api.compare_model_by_layer, layers(network, samples, use_cuda=True)),
    ):
        assert refused(ResourceError, call, parameters) == (
            "use_cuda=True needs an NVIDIA GPU, its driver and the CUDA toolkit, as numba uses them; "
            "found no CUDA device. Leave use_cuda out to compute on the CPU."
        )


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_many_samples_are_done(
    network: Network, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    model = network()
    api.run_inference(api.InferenceRunnerParameters(input_model_path=model, input_data_path=str(samples)))
    api.compare_model_by_inference(check(network, samples))
    for stage in ("run inference", "compare"):
        assert stage in terminal.getvalue()
    assert " of 3," in terminal.getvalue()
