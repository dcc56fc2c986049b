"""``WriteWeights``: a layer of a loaded network gets other weights in every engine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tilewright.compiler.demo import MODEL
from tilewright.runtime.api.accelerator import FWDNXT, MDLA
from tilewright.runtime.api.accelerator.errors import AcceleratorError, SaturationWarning

RNG = np.random.default_rng(0)
SAMPLES = list(RNG.random((4, 1, 8, 8), np.float32))
IMAGE = SAMPLES[0]


def initializers() -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(MODEL).graph.initializer}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("saved") / "save.bin")
    accelerator = MDLA()
    accelerator.SetFlag("debug", "")
    accelerator.Compile(str(MODEL), samples=SAMPLES, outfile=path)
    return path


@pytest.fixture
def loaded(saved: str) -> MDLA:
    accelerator = MDLA()
    accelerator.Init(saved)
    return accelerator


def results(accelerator: MDLA) -> list[np.ndarray]:
    found = [run(IMAGE) for run in (accelerator.Run, accelerator.Run_sw, accelerator.Run_th)]
    assert all(isinstance(each, np.ndarray) for each in found)
    return [np.asarray(each) for each in found]


def test_its_own_weights_change_nothing(loaded: MDLA) -> None:
    before, own = results(loaded), initializers()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.WriteWeights(own["classifier.weight"], own["classifier.bias"])
    for found, expected in zip(results(loaded), before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("node", [-1, 4])
def test_other_weights_of_the_last_layer_count_in_every_engine(loaded: MDLA, node: int) -> None:
    own = initializers()
    order = np.roll(np.arange(10), 3)
    before = results(loaded)
    loaded.WriteWeights(own["classifier.weight"][order] * 0.5, own["classifier.bias"][order] * 0.5, node)
    device, software, floating = results(loaded)
    np.testing.assert_array_equal(device, software)
    halved = np.sqrt(before[2][:, order])
    np.testing.assert_allclose(floating, halved / halved.sum(), rtol=1e-4)
    assert np.abs(device - floating).max() < 0.05
    assert not np.array_equal(device, before[0])


def test_a_layer_by_its_number_and_arrays_of_any_shape(loaded: MDLA) -> None:
    shape = initializers()["residual.weight"].shape
    before = results(loaded)
    loaded.WriteWeights(np.zeros(np.prod(shape), np.float32), None, 3)
    for found, old in zip(results(loaded), before, strict=True):
        assert not np.array_equal(found, old)


def test_the_second_generation_gives_no_bias(saved: str) -> None:
    accelerator, result = FWDNXT(), np.empty(10, np.float32)
    accelerator.Init(saved, "")
    accelerator.WriteWeights(np.zeros((10, 32), np.float32), -1)
    accelerator.Run_th(IMAGE, result)
    bias = np.exp(initializers()["classifier.bias"])
    np.testing.assert_allclose(result, bias / bias.sum(), rtol=1e-5)


def test_programs_of_2020_give_the_node_in_second_place(loaded: MDLA) -> None:
    loaded.WriteWeights(np.zeros((10, 32), np.float32), -1)
    bias = np.exp(initializers()["classifier.bias"])
    np.testing.assert_allclose(results(loaded)[2][0], bias / bias.sum(), rtol=1e-5)


def test_weights_that_do_not_fit_their_scale_are_told_and_cut_off(loaded: MDLA) -> None:
    with pytest.warns(SaturationWarning) as caught:
        loaded.WriteWeights(initializers()["classifier.weight"] * 1000)
    (told,) = [str(each.message) for each in caught]
    count = int(told.split()[0])
    assert 250 < count <= 320
    assert told == (
        f"{count} of 320 weights of layer 'classifier' do not fit its scale and are cut off; compile the network with "
        "these weights to have a scale for them"
    )
    loaded.SetFlag("debug", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.WriteWeights(initializers()["classifier.weight"] * 1000)


def test_a_network_in_floating_point(tmp_path: Path) -> None:
    accelerator = MDLA()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accelerator.Compile(str(MODEL))
    accelerator.WriteWeights(np.zeros((10, 32), np.float32), np.zeros(10, np.float32))
    np.testing.assert_allclose(results(accelerator)[0], np.full((1, 10), 0.1), rtol=1e-6)


def refusal(accelerator: MDLA, *arguments: Any) -> str:
    with pytest.raises(AcceleratorError) as caught:
        accelerator.WriteWeights(*arguments)
    assert caught.value.code == -1
    return str(caught.value)


def test_wrong_arguments(loaded: MDLA) -> None:
    fitting = np.zeros((10, 32), np.float32)
    assert refusal(MDLA(), fitting) == "WriteWeights: no network is loaded. Compile or Init loads one."
    assert refusal(loaded, fitting, None, 5) == (
        "WriteWeights: there is no layer with weights of this number; expected -5 to 4: 0 stem, stem_relu, "
        "1 depthwise, depthwise_clip, 2 pointwise, pointwise_relu, 3 residual, 4 classifier, found 5"
    )
    assert refusal(loaded, fitting[:9]) == (
        "WriteWeights: weights do not fit the layer; expected 320 numbers, [10, 32, 1, 1], found float32[9, 32]"
    )
    assert refusal(loaded, fitting, np.zeros(9, np.float32)) == (
        "WriteWeights: bias does not fit the layer; expected 10 numbers, [10], found float32[9]"
    )
    assert refusal(loaded, [1.0]) == (
        "WriteWeights: weights do not fit the layer; expected 320 numbers, [10, 32, 1, 1], found list"
    )
    assert refusal(loaded, fitting + np.inf) == (
        "WriteWeights: not all of weights is finite; expected numbers, found infinity or NaN"
    )
    before = results(loaded)
    assert before[0].shape == (1, 10)


def test_which_of_several_networks(saved: str) -> None:
    accelerator = FWDNXT()
    accelerator.Loadmulti([saved, saved])
    accelerator.Init("", "")
    with pytest.raises(AcceleratorError) as caught:
        accelerator.WriteWeights(np.zeros((10, 32), np.float32), -1)
    assert str(caught.value) == "WriteWeights: weights of which network?; expected one, found 2"
