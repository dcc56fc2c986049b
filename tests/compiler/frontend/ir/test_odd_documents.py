"""Files of unusual form and size: what is said of them, and that importing takes time in proportion to their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilewright.compiler.frontend.formats import import_model, read_module
from tilewright.compiler.frontend.ir.quantization_chains import known
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.errors import ModelError
from tilewright.ir.text.parser import parse_module

PORT = '<port id="{}" precision="FP32"><dim>1</dim><dim>8</dim></port>'


def network(name: str = "x", shape: str = "1,8", ports: int = 1, dims: str = "<dim>1</dim><dim>8</dim>") -> bytes:
    """x -> ReLU of so many output ports, whose first one is the result."""
    port = f'<port id="0" precision="FP32">{dims}</port>'
    outputs = "".join(PORT.format(index + 1) for index in range(ports)).replace("<dim>1</dim><dim>8</dim>", dims)
    return f"""<net name="n" version="11"><layers>
      <layer id="0" name="{name}" type="Parameter" version="opset1">
        <data shape="{shape}" element_type="f32"/><output>{port}</output></layer>
      <layer id="1" name="relu" type="ReLU" version="opset1"><input>{port}</input><output>{outputs}</output></layer>
      <layer id="2" name="result" type="Result" version="opset1"><input>{port}</input></layer></layers><edges>
      <edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
      <edge from-layer="1" from-port="1" to-layer="2" to-port="0"/></edges></net>""".encode()


def test_an_open_rank_is_no_scalar() -> None:
    """Files say it by the attribute of the layer alone; their ports have no dimensions then."""
    document = read_document(network(shape="...", dims=""))
    with pytest.raises(ModelError) as error:
        import_model(document)
    assert str(error.value) == (
        "import: Parameter: node 'x': input 'x' has an open shape of unknown rank. "
        "Fix it with --input-shape x=1,3,224,224 (input_shapes={'x': [1,3,224,224]} in Python)."
    )
    assert import_model(document, {"x": (2, 3)}).main.results[0].type.shape == (2, 3)


def test_all_open_inputs_are_named_at_once() -> None:
    another = """<layer id="3" name="z" type="Parameter" version="opset1"><data shape="-1,3,-1,-1" element_type="f32"/>
    <output><port id="0" precision="FP32"><dim>-1</dim><dim>3</dim><dim>-1</dim><dim>-1</dim></port></output></layer>"""
    text = network(shape="-1,8", dims="<dim>-1</dim><dim>8</dim>").decode().replace("</layers>", f"{another}</layers>")
    with pytest.raises(ModelError) as error:
        import_model(read_document(text.encode()))
    assert str(error.value) == (
        "import: Parameter: node 'x': input 'x' has an open shape [?, 8]; input 'z' has an open shape [?, 3, ?, ?]. "
        "Fix it with --input-shape x=1,8 --input-shape z=1,3,224,224 "
        "(input_shapes={'x': [1,8], 'z': [1,3,224,224]} in Python)."
    )


def test_the_command_of_a_hint_can_be_copied() -> None:
    document = read_document(network(name="in put", shape="-1,8", dims="<dim>-1</dim><dim>8</dim>"))
    with pytest.raises(ModelError, match=r"Fix it with --input-shape 'in put'=1,8 \(input_shapes="):
        import_model(document)


def test_names_in_capitals(tmp_path: Path) -> None:
    layer = 'type="ReLU" version="opset1">'
    text = network().decode().replace(layer, f'{layer}<weights offset="0" size="4"/>')
    (tmp_path / "NET.XML").write_text(text)
    with pytest.raises(ModelError, match=r"but there is no .bin file; expected .*NET.bin"):
        import_model(tmp_path / "NET.XML")
    (tmp_path / "NET.BIN").write_bytes(np.ones(1, np.float32).tobytes())
    assert len(list(import_model(tmp_path / "NET.XML").main.ops)) == 1
    assert len(list(read_module(tmp_path / "NET.XML", {}).main.ops)) == 1


def test_a_layer_of_many_ports() -> None:
    assert [result.name for result in import_model(read_document(network(ports=20_000))).main.results] == ["relu.0"]


def test_constants_of_long_chains_are_not_computed() -> None:
    """Each line reads the one before it twice: followed without end, a chain of 60 takes 2^60 steps."""
    lines = "\n".join(f"%v{i + 1} = add(%v{i}, %v{i}) : f32[2]" for i in range(60))
    module = parse_module(f"""module @m {{
      const @one : f32[2] = [0x1.0p+0, 0x1.0p+1]
      func @main(%x: f32[2]) -> (%y: f32[2]) {{
        %v0 = neg(@one) : f32[2]
        {lines}
        %y = add(%x, %v60) : f32[2]
        return %y
      }}
    }}""")
    values = [op.results[0] for op in module.main.ops]
    np.testing.assert_array_equal(np.asarray(known(values[7])), [-128.0, -256.0])
    assert known(values[8]) is None and known(values[60]) is None and known(values[61]) is None
