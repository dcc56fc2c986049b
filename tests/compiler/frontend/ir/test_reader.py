"""IR files that are damaged or hostile: one sentence says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from opset_ir import IrFile

from tilewright import limits
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.errors import ModelError, TilewrightError, UnsupportedError


def network() -> IrFile:
    file = IrFile()
    x = file.parameter(2, 3)
    file.result(file.layer("Add", [x, file.constant(np.arange(3, dtype=np.float32))], [(2, 3)]))
    return file


def refused(text: bytes, binary: bytes | None = None) -> str:
    with pytest.raises(TilewrightError) as caught:
        import_model(read_document(text, network().binary if binary is None else binary))
    assert isinstance(caught.value, ModelError)
    return str(caught.value)


def test_the_network_itself_is_sound() -> None:
    (found,) = network().run(np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(found, [[0, 1, 2]] * 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'version="11"',
            'version="1"',
            "import: deprecated IR version: 1; expected 2 to 7, 10 or 11, found 1",
        ),
        (
            'version="11"',
            'version="12"',
            "import: cannot parse future versions: 12; expected 2 to 7, 10 or 11, found 12",
        ),
        ('version="11"', 'version="eleven"', "import: attribute 'version' of a <net> is no integer; found 'eleven'"),
        ('id="2"', 'id="1"', "import: two layers have the id 1"),
        ('name="add2"', 'name="const1"', "import: two layers are named 'const1'"),
        ('<port id="1"/>', '<port id="0"/>', "import: two ports of layer 'add2' have the same id"),
        ('from-layer="1"', 'from-layer="7"', "import: an edge names output port 0 of layer 7, which is not there"),
        ('to-port="1"', 'to-port="5"', "import: an edge names input port 5 of layer 2, which is not there"),
        ('to-port="1"', 'to-port="0"', "import: two edges lead to input port 0 of layer 2"),
        (
            'from-layer="0" from-port="0" to-layer="2"',
            'from-layer="2" from-port="2" to-layer="2"',
            "import: the graph has a cycle; found layers 'add2', 'result3'",
        ),
        ('offset="0"', 'offset="4"', "lies outside the .bin file; expected within 12 bytes, found 12 bytes from 4."),
        ('offset="0"', 'offset="-4"', "lies outside the .bin file; expected within 12 bytes, found 12 bytes from -4."),
        ('size="12"', 'size="11"', "is no whole number of elements; expected a multiple of 4 bytes for FP32, found 11"),
        ('size="12"', 'size="8"', "the custom do not fill their shape; expected 3 for f32[3], found 2"),
        (
            "<dim>2</dim>",
            "<dim>9999999999</dim>",
            "import: an extent of a port is out of range; expected 0 to 21474836",
        ),
        ("<dim>2</dim>", "<dim>-2</dim>", "import: an extent of a port is out of range; expected 0 to 2147483647"),
        ("<dim>2</dim>", "<dim>1</dim>" * 17, "import: a port has too many dimensions; expected at most 16, found 18"),
        (
            '<port id="2" precision="FP32"><dim>2',
            '<port id="2" precision="FP32"><dim>4',
            "mismatch of dimensions: the layer computes another shape than the file says",
        ),
        ('type="Add"', 'type="Nothing"', "layer type 'Nothing' (opset1) is not supported. `tilewright inspect --supp"),
        ('element_type="f32"', 'element_type="f99"', "precision 'F99' is not supported; expected FP64, FP32, FP16"),
        (
            "<net ",
            "<!DOCTYPE net [<!ENTITY a 'b'>]><net ",
            "import: the .xml file declares a document type. Entities are",
        ),
        ("</net>", "", "import: the data is not an .xml file of a network (no element found: line 1, column"),
        ("<net ", "<mesh ", "import: the data is not an .xml file of a network (mismatched tag: line 1"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, message: str) -> None:
    text = network().text.decode()
    assert old in text
    damaged = text.replace(old, new) if old.startswith("<dim") else text.replace(old, new, 1)
    assert message in refused(damaged.encode())


def test_an_input_port_that_nothing_feeds() -> None:
    file = network()
    del file.edges[1]
    assert refused(file.text) == "import: input port 1 of layer 'add2' is not connected to any edge"


def test_a_result_that_something_reads() -> None:
    file = IrFile()
    result = file.layer("Result", [file.parameter(2)], [(2,)])
    file.result(result)
    assert refused(file.text) == "import: Result: node 'result2': a Result gives nothing that can be read"


def test_arrays_without_a_bin_file(tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_bytes(network().text)
    with pytest.raises(ModelError, match=r"layer 'const1' holds an array, but there is no .bin file"):
        read_document(tmp_path / "net.xml")


def test_constants_of_types_without_arithmetic() -> None:
    text = network().text.replace(
        b'"Const" version="opset1"><data element_type="f32"', b'"Const" version="opset1"><data element_type="u4"'
    )
    with pytest.raises(
        UnsupportedError, match=r"'const1': the element type is not supported; expected f64, f32.*, found 'u4'"
    ):
        import_model(read_document(text, network().binary))


def test_nesting_and_numbers_of_elements_are_bounded() -> None:
    deep = b"<net>" + b"<a>" * limits.XML_DEPTH
    assert refused(deep).startswith(f"import: the .xml file is too large; expected at most {limits.XML_DEPTH} elements")
    wide = b"<net>" + b"<a/>" * limits.XML_ELEMENTS
    assert refused(wide).startswith(f"import: the .xml file is too large; expected at most {limits.XML_ELEMENTS} el")


def test_a_file_may_not_be_longer_than_the_largest_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = network().text
    monkeypatch.setattr(limits, "XML_FILE", limits.Limit(len(text), "bytes of an .xml file"))
    (tmp_path / "net.xml").write_bytes(text + b" ")
    expected = f"is too large; expected at most {len(text)} bytes of an .xml file, found {len(text) + 1} bytes"
    assert refused(text + b" ") == f"import: the data {expected}"
    with pytest.raises(ModelError) as caught:
        read_document(tmp_path / "net.xml")
    assert str(caught.value) == f"import: '{tmp_path}/net.xml' {expected}"


@pytest.mark.parametrize("encoding", ["utf-7", "utf-32", "shift_jis", "idna", "base64", "nonsense"])
def test_encodings_that_xml_readers_do_not_take(encoding: str) -> None:
    text = b'<?xml version="1.0" encoding="%s"?>' % encoding.encode() + network().text.partition(b"?>")[2]
    assert refused(text).startswith("import: the data is not an .xml file of a network (")


def test_a_message_does_not_repeat_what_is_endless() -> None:
    text = network().text.replace(b'element_type="f32"', b'element_type="%s"' % (b"f" * 10**6), 1)
    message = refused(text)
    assert len(message) < 10_000
    assert "FFFF … FFFF" in message


def test_a_name_is_bounded_which_all_messages_after_importing_hold() -> None:
    text = network().text
    longest = text.replace(b'name="add2"', b'name="%s"' % (b"a" * limits.XML_NAME))
    assert import_model(read_document(longest, network().binary)).main.ops
    expected = f"import: the name of a layer is too long; expected at most 4096 {limits.XML_NAME.what}, found 4097"
    assert refused(longest.replace(b'name="a', b'name="aa')) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name="add2"', 'name="{}"'),
        ('type="Add"', 'type="{}"'),
        ('type="Add" version="opset1"', 'type="Nothing" version="{}"'),
        ('element_type="f32"', 'element_type="{}"'),
        ('shape="3"', 'shape="{}"'),
        ('size="12"', 'size="{}"'),
    ],
)
def test_no_attribute_of_a_layer_fills_logs(old: str, new: str) -> None:
    text = network().text.decode()
    assert old in text
    for long in ("a" * 10**5, "1," * 10**5, "é\u2028" * 10**5):
        with pytest.raises(TilewrightError) as caught:
            import_model(read_document(text.replace(old, new.format(long), 1).encode(), network().binary))
        assert 20 < len(str(caught.value)) < 10_000


def test_many_outputs_of_one_layer_take_no_longer_than_many_layers() -> None:
    file, parts = IrFile(), 5_000
    x = file.parameter(parts)
    axis, sizes = file.constant(np.array(0)), file.constant(np.ones(parts, np.int64))
    first = file.layer("VariadicSplit", [x, axis, sizes], [(1,)] * parts)
    for part in (0, parts - 1):
        file.result((first[0], first[1] + part))
    found = file.run(np.arange(parts, dtype=np.float32))
    assert [array.tolist() for array in found] == [[0.0], [parts - 1.0]]
