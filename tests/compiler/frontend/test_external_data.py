"""Tensors in files beside the model: read in one folder, by our own rules, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from network_files import graph_model, write_model
from onnx import TensorProto, helper

import tilewright
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import ModelError, TilewrightError

WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)
BYTES = "which a model that is no file itself may not name"
FOLDER = "must be in a file in the folder of the model; expected a relative path with '/' between its parts and no '..'"
HINT = "Name the folder of that file as external_data, or compile the model from its file."


def outside(location: str, **entries: str | int) -> TensorProto:
    """A tensor whose elements are in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def as_initializer(tensor: TensorProto) -> onnx.ModelProto:
    model = graph_model([helper.make_node("Add", ["x", "w"], ["y"])])
    model.graph.initializer.append(tensor)
    return model


def as_attribute(tensor: TensorProto) -> onnx.ModelProto:
    constant = onnx.NodeProto(op_type="Constant", name="c", output=["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return graph_model([constant, helper.make_node("Add", ["x", "w"], ["y"])])


def in_subgraph(form: Callable[[TensorProto], onnx.ModelProto]) -> Callable[[TensorProto], onnx.ModelProto]:
    def build(tensor: TensorProto) -> onnx.ModelProto:
        branch = form(tensor).graph
        del branch.input[:]
        node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
        return graph_model([node], initializers={"yes": np.array(True)})

    return build


FORMS = {
    "initializer": as_initializer,
    "attribute": as_attribute,
    "initializer of a subgraph": in_subgraph(as_initializer),
    "attribute in a subgraph": in_subgraph(as_attribute),
}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.bin"
    path.write_bytes(b"????" + WEIGHTS.tobytes())
    return path


def refusal(model: onnx.ModelProto | bytes | Path, external_data: Path | None = None) -> str:
    with pytest.raises(TilewrightError) as caught:
        import_onnx(model, external_data=external_data)
    return str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_a_model_given_as_bytes_reads_no_file(form: str, weights: Path) -> None:
    for location in ("w.bin", "/etc/hostname", "../x"):
        model = FORMS[form](outside(location, offset=4))
        message = f"elements of tensor 'w' are in another file, {BYTES}; found {location!r}. {HINT}"
        assert message in refusal(model.SerializeToString())
        assert message in refusal(model)
        with pytest.raises(ModelError, match="are in another file"):
            tilewright.compile(model.SerializeToString())
        with pytest.raises(ModelError, match="are in another file"):
            tilewright.export(model.SerializeToString(), "out.onnx")
    assert sorted(os.listdir()) == ["w.bin"]


@pytest.mark.parametrize("form", FORMS)
def test_files_beside_the_model_are_read_wherever_it_names_them(
    form: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FORMS[form](outside("./w.bin", offset=4, length=24, checksum="unread"))
    path = write_model(weights.parent / "m.onnx", model)
    monkeypatch.chdir("/")
    content = path.read_bytes()
    for artifact in (tilewright.compile(path), tilewright.compile(content, external_data=weights.parent)):
        with tilewright.load(artifact) as session:
            found = session.run({"x": np.ones((2, 3), np.float32)})["y"]
        np.testing.assert_array_equal(found, WEIGHTS + 1)
    tilewright.export(content, weights.parent / "out.onnx", external_data=weights.parent)
    assert onnx.numpy_helper.to_array(onnx.load(weights.parent / "out.onnx").graph.initializer[0]).tolist() == (
        WEIGHTS.tolist()
    )


@pytest.mark.parametrize(
    "location", ["/etc/hostname", "../x", "a/../../x", "", ".", "a\\w.bin", "w\0.bin", "//etc/hostname"]
)
@pytest.mark.parametrize("form", FORMS)
def test_paths_that_leave_the_folder(form: str, location: str, weights: Path) -> None:
    (weights.parent.parent / "x").write_bytes(bytes(24))
    path = write_model(weights.parent / "m.onnx", FORMS[form](outside(location)))
    assert f"the elements of tensor 'w' {FOLDER}, found {location!r}" in refusal(path)


def test_links_are_not_followed(weights: Path) -> None:
    folder = weights.parent / "models"
    folder.mkdir()
    (folder / "link.bin").symlink_to(weights)
    (folder / "here.bin").symlink_to("plain.bin")
    (folder / "plain.bin").write_bytes(WEIGHTS.tobytes())
    (folder / "up").symlink_to(weights.parent)
    for location in ("link.bin", "here.bin", "up/w.bin", "up/models/plain.bin"):
        path = write_model(folder / "m.onnx", as_initializer(outside(location)))
        assert refusal(path) == (
            f"import: the elements of tensor 'w' are behind a symbolic link; found {location!r}. "
            "Put the file in the place of the link."
        )
    # The way to the folder is the user's own.
    assert import_onnx(write_model(weights.parent / "up.onnx", as_initializer(outside("plain.bin"))), None, folder)
    link = weights.parent / "linked"
    link.symlink_to(folder)
    assert import_onnx(write_model(link / "m.onnx", as_initializer(outside("plain.bin"))))


def test_what_is_no_plain_file(weights: Path) -> None:
    os.mkfifo("fifo")
    os.mkdir("folder")
    for name in ("fifo", "folder"):
        path = write_model(weights.parent / "m.onnx", as_initializer(outside(name)))
        assert refusal(path) == (
            f"import: the elements of tensor 'w' are in something that is no plain file; found '{name}'"
        )
    path = write_model(weights.parent / "m.onnx", as_initializer(outside("w.bin/w.bin")))
    assert refusal(path) == "import: the elements of tensor 'w' cannot be read: Not a directory; found 'w.bin/w.bin'"
    path = write_model(weights.parent / "m.onnx", as_initializer(outside("none.bin")))
    assert refusal(path) == (
        "import: the elements of tensor 'w' are in a file that is not there; expected 'none.bin' in the folder of the "
        "model. Models with external data are several files, which are copied or downloaded together."
    )


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": 5}, "the elements of tensor 'w' lie beyond the end of 'w.bin'; found bytes 5 to 29 of 28"),
        ({"offset": 10**17}, f"beyond the end of 'w.bin'; found bytes {10**17} to {10**17 + 24} of 28"),
        ({"offset": -4}, "tensor 'w' has a wrong offset of its elements; expected a number of bytes, found '-4'"),
        ({"offset": "0x4"}, "tensor 'w' has a wrong offset of its elements; expected a number of bytes, found '0x4'"),
        ({"offset": "٤"}, "tensor 'w' has a wrong offset of its elements; expected a number of bytes, found '٤'"),
        ({"length": "1e3"}, "tensor 'w' has a wrong length of its elements; expected a number of bytes, found '1e3'"),
        ({"offset": "9" * 5000}, f"expected a number of bytes, found '{'9' * 40}'"),
        ({"length": 20}, "the elements of tensor 'w' have the wrong size; expected 24 bytes, found 20"),
    ],
)
def test_places_that_do_not_fit(entries: dict[str, str | int], message: str, weights: Path) -> None:
    path = write_model(weights.parent / "m.onnx", as_initializer(outside("w.bin", **entries)))
    assert message in refusal(path)


def test_a_tensor_that_is_larger_than_its_file_is_refused_before_memory_is_taken(weights: Path) -> None:
    tensor = outside("w.bin")
    tensor.dims[:] = 2**14, 2**15
    path = write_model(weights.parent / "m.onnx", as_initializer(tensor))
    assert "lie beyond the end of 'w.bin'; found bytes 0 to 2147483648 of 28" in refusal(path)


def test_a_place_that_is_given_twice(weights: Path) -> None:
    tensor = outside("w.bin")
    tensor.external_data.add(key="location", value="v.bin")
    path = write_model(weights.parent / "m.onnx", as_initializer(tensor))
    assert refusal(path) == "import: tensor 'w' has no clear location of its elements; found ['w.bin', 'v.bin']"


def test_tensors_may_share_a_range_but_not_overlap(weights: Path) -> None:
    """So that many small tensors cannot multiply a large file."""
    model = as_initializer(outside("w.bin", offset=4))
    for index in range(3):
        other = outside("w.bin", offset=4)
        other.name = f"w{index}"
        model.graph.initializer.append(other)
    assert import_onnx(write_model(weights.parent / "m.onnx", model))
    model.graph.initializer[2].external_data[1].value = "0"
    path = write_model(weights.parent / "m.onnx", model)
    assert refusal(path) == "import: tensors overlap in 'w.bin'; found tensor 'w1'"


def test_truth_values_are_zero_or_one(weights: Path) -> None:
    """Any other byte would be read as something else by NumPy and by kernels."""
    weights.write_bytes(bytes([0, 1, 2, 255, 128, 7]))
    tensor = outside("w.bin")
    tensor.data_type = TensorProto.BOOL
    inline = TensorProto(name="v", data_type=TensorProto.BOOL, dims=[2, 3], raw_data=weights.read_bytes())
    nodes = [helper.make_node("Where", ["w", "x", "x"], ["y"]), helper.make_node("Where", ["v", "x", "x"], ["z"])]
    model = graph_model(nodes, outputs=("y", "z"))
    model.graph.initializer.extend([tensor, inline])
    module = import_onnx(write_model(weights.parent / "m.onnx", model))
    for constant in module.constants.values():
        assert constant.array.view(np.uint8).tolist() == [[0, 1, 1], [1, 1, 1]]


def test_a_missing_file_is_told_before_open_shapes(weights: Path) -> None:
    model = as_initializer(outside("other.bin", offset=4))
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, "open.onnx")
    assert "are in a file that is not there" in refusal(Path("open.onnx"))
