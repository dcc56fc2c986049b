"""Calls of the Simulator API for `program.py`: sessions that several threads share, and calls on files."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
from api.random_calls.program import Call
from network_files import graph_model, write_model
from onnx import TensorProto, helper
from pydantic import ValidationError

from tilewright.errors import TilewrightError
from tilewright.runtime.api.simulator import api

NAMES = (["y"], ["z_updated"], ["z"], ["y", "z"], None, [], ["no such output"], "y")


class Simulator:
    """`simulator.api` with a network of a product, a ReLU and a transpose."""

    refusals = (TilewrightError, ValidationError)

    def __init__(self) -> None:
        rng = np.random.default_rng(2)
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["y"]),
            helper.make_node("Exp", ["y"], ["z"]),
        ]
        weights = {"w": rng.standard_normal((3, 4)).astype(np.float32)}
        for name, rows in (("net", 1), ("open", "batch")):
            write_model(
                Path(f"{name}.onnx"), graph_model(nodes, [("x", TensorProto.FLOAT, [rows, 3])], ["y", "z"], weights)
            )
        entry = {"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "min": -8.0, "max": 127 / 16}
        entry |= {"scale": 1 / 16, "offset": -128}
        sections = {"activation_encodings": {"x": [entry], "h": [entry]}, "param_encodings": {}}
        Path("net.encodings").write_text(json.dumps({"version": "0.6.1", **sections}))
        Path("wrong.encodings").write_text('{"version": "0.6.1", "activation_encodings": 3}')
        Path("DATA").mkdir()
        self.x = rng.standard_normal((8, 1, 3)).astype(np.float32)
        np.savez("DATA/samples.npz", x=self.x[:3, 0])
        self.session = self.opened()
        self.open = api.get_inference_session(api.InferenceSessionParameters(input_model_path="open.onnx"))
        self.restless = self.opened()
        self.expected = [self.session.run(["y", "z"], {"x": x}) for x in self.x]
        self.calls = [
            Call("run", 60, self.run),
            Call("run, wrong", 15, self.run_wrong),
            Call("run, open batch", 10, self.run_open),
            Call("run, restless", 10, self.run_restless),
            Call("close", 1, self.close),
            Call("get_inputs and get_outputs", 5, self.describe),
            Call("run_inference", 1, self.run_inference),
            Call("compare_model_by_inference", 1, self.compare),
            Call("compare_model_by_layer", 1, self.compare_layers),
            Call("load_input_data", 5, self.load),
            Call("parameters, wrong", 5, self.parameters_wrong),
        ]

    def opened(self) -> api.QuantizationSession:
        parameters = api.InferenceSessionParameters(input_model_path="net.onnx", input_encodings_path="net.encodings")
        return api.get_quantization_sim(parameters).session

    def run(self, random: Random) -> None:
        number, names = random.randrange(len(self.x)), random.choice(NAMES)
        feeds = {"x": self.x[number].copy()}
        outputs = self.session.run(names, feeds)
        feeds["x"][:] = np.nan
        wanted = dict(zip("yz", self.expected[number], strict=True))
        for name, output in zip(names or ["y", "z"], outputs, strict=True):
            np.testing.assert_array_equal(output, wanted[name[0]])
            output[:] = np.nan  # it belongs to the caller

    def run_wrong(self, random: Random) -> None:
        x = self.x[0]
        wrong = (
            {},
            {"x": x, "w": x},
            {"x": x[0]},
            {"x": x.astype(np.float64)},
            {"x": x[:, :2]},
            {"x": None},
            [x],
            None,
        )
        self.session.run(["y"], random.choice(wrong))  # pyright: ignore[reportArgumentType]

    def run_open(self, random: Random) -> None:
        rows = random.randint(1, 5)
        (y,) = self.open.run(["y"], {"x": self.x[:rows, 0]})
        assert y.shape == (rows, 4)

    def run_restless(self, random: Random) -> None:
        number = random.randrange(len(self.x))
        (y,) = self.restless.run(["y"], {"x": self.x[number]})
        np.testing.assert_array_equal(y, self.expected[number][0])

    def close(self, random: Random) -> None:
        before, self.restless = self.restless, self.opened()
        before.close()
        before.close()

    def describe(self, random: Random) -> None:
        assert [(each.name, each.shape) for each in self.session.get_inputs()] == [("x", [1, 3])]
        assert [each.name for each in self.open.get_outputs()] == ["y_updated", "z_updated"]

    def files(self, random: Random) -> tuple[str, str, str]:
        """A model, encodings and data, one of them wrong now and then."""
        model = random.choice(("net.onnx",) * 8 + ("missing.onnx", "net.encodings"))
        encodings = random.choice(("net.encodings",) * 8 + ("missing.encodings", "wrong.encodings"))
        return model, encodings, random.choice(("DATA",) * 8 + ("missing", "net.onnx"))

    def run_inference(self, random: Random) -> None:
        model, encodings, data = self.files(random)
        found = api.run_inference(
            api.InferenceRunnerParameters(
                input_model_path=model,
                input_encodings_path=encodings,
                input_data_path=data,
                layerwise_check_name=random.choice(([], ["h"], ["no such tensor"])),
            )
        )
        for number, tensors in enumerate(found.values()):
            np.testing.assert_array_equal(tensors["y"], self.expected[number][0])

    def compare(self, random: Random) -> None:
        model, encodings, data = self.files(random)
        found = api.compare_model_by_inference(
            api.InferenceCheckerParameters(
                input_model_path_0="net.onnx",
                input_model_path_1=model,
                input_encodings_path_1=encodings,
                input_data_path=data,
                metric=random.choice(("snr", "rmse")),
                threshold=random.choice((1e9, -1e9)),
            )
        )
        assert len(found) == 3

    def compare_layers(self, random: Random) -> None:
        model, encodings, data = self.files(random)
        api.compare_model_by_layer(
            api.LayerwiseCheckerParameters(
                input_model_path_0="net.onnx",
                input_model_path_1=model,
                input_encodings_path_1=encodings,
                input_data_path=data,
                layer_match_info=[random.choice((("h", "h"), ("y", "h"), ("h", "missing")))],
                export_featuremap=random.random() < 0.5,
                export_featuremap_path=f"maps{random.randrange(3)}",
            )
        )

    def load(self, random: Random) -> None:
        found = api.load_input_data(self.files(random)[2], self.session.get_inputs())
        for number, feeds in enumerate(found.values()):
            np.testing.assert_array_equal(feeds["x"], self.x[number])

    def parameters_wrong(self, random: Random) -> None:
        fields = {"input_model_path": "net.onnx", "input_data_path": "DATA"}
        fields[random.choice(tuple(fields))] = random.choice((None, 3, "", []))  # pyright: ignore[reportArgumentType]
        api.InferenceRunnerParameters(**fields)  # pyright: ignore[reportArgumentType]

    def infer(self) -> None:
        self.session.run(None, {"x": self.x[0]})
        self.open.run(["z"], {"x": self.x[:2, 0]})

    def finish(self) -> None:
        for session in (self.session, self.open, self.restless):
            session.close()
