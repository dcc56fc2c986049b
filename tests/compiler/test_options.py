"""One declaration of options: the command and the function take the same ones, and neither ignores any."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import tilewright
from tilewright.compiler.declarations import flag_of
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.options import CompileOptions
from tilewright.errors import CalibrationWarning, ModelError, PassError, UsageError
from tilewright.runtime.commands.parser import parser_of
from tilewright.runtime.pictures.preprocessing import Preprocessing
from tilewright.runtime.report.details import details_of

call: Callable[..., Any] = tilewright.compile
untyped_export: Callable[..., Any] = tilewright.export


def test_the_function_takes_every_option() -> None:
    parameters = inspect.signature(tilewright.compile).parameters
    declared = fields(CompileOptions)
    assert list(parameters) == ["model", *(each.name for each in declared), "output", "progress"]
    assert all(parameters[each.name].default == each.default for each in declared)
    documentation = inspect.getdoc(tilewright.compile) or ""
    assert all(f"\n    {name}: " in documentation for name in parameters)


def test_the_command_takes_every_option_but_those_of_programs() -> None:
    options = {flag: action for action in parser_of("compile")._actions for flag in action.option_strings}
    for each in fields(CompileOptions):
        if each.name in ("external_data", "stationary", "instruments", "report", "shares"):
            assert flag_of(each) not in options
            continue
        action = options[flag_of(each)]
        assert action.dest == each.name
        assert action.help == each.metadata["help"]
        assert action.default == each.default


@pytest.mark.parametrize("whole", [np.int64, np.uint8, np.array])
def test_numbers_of_numpy_are_numbers(whole: Callable[[int], Any], digits_int8: Callable[..., str]) -> None:
    expected = digits_int8(clusters=2, cards=1, calibration_limit=2)
    assert digits_int8(clusters=whole(2), cards=whole(1), calibration_limit=whole(2)) == expected
    ranges = {"calibration_method": "percentile", "strict": np.bool_(True)}
    assert digits_int8(**ranges, percentile=np.float64(99), time_limit=np.float32(100)) == digits_int8(
        calibration_method="percentile", percentile=99.0, strict=True
    )


@pytest.fixture(scope="module")
def digits_int8() -> Callable[..., str]:
    """The digest of the digits network, compiled with these options."""
    digits = load_digits()
    samples = digits.prepare(digits.calibration_images[:4])
    return lambda **options: call(MODEL, calibration=samples, effort="quick", **options).digest


@pytest.mark.parametrize("value", [2.5, "2", [2], None, np.array([1, 2]), 1j], ids=repr)
def test_what_is_no_whole_number_is_none(value: object) -> None:
    with pytest.raises(UsageError, match=r"^option 'cards' has the wrong type; expected int, found "):
        call(MODEL, cards=value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": ["cpu"]}, r"option 'devices' has the wrong type; expected str, found list \['cpu'\]"),
        (
            {"machine": 5},
            r"option 'machine' has the wrong type; expected str \| os.PathLike\[str\] \| None, found int 5",
        ),
        (
            {"calibration_limit": "3"},
            r"option 'calibration_limit' has the wrong type; expected int \| None, found str '3'",
        ),
        ({"strict": "no"}, r"option 'strict' has the wrong type; expected bool, found str 'no'"),
        (
            {"target": 5},
            r"option 'target' has the wrong type; expected TargetDescription \| str \| Sequence\[TargetDescription\] "
            r"\| Sequence\[str\] \| None, found int 5",
        ),
        (
            {"input_shapes": [1, 2]},
            r"wrong input_shapes; expected a mapping by input name, or a list of them, found \[1, 2\]",
        ),
        ({"input_shapes": {"image": 5}}, r"wrong shape for input 'image'; expected whole numbers, found 5"),
        ({"input_shapes": {"image": ["a"]}}, r"wrong shape for input 'image'; expected whole numbers, found \['a'\]"),
        (
            {"print_after": [5]},
            r"option 'print_after' has the wrong type; expected Sequence\[str\] \| None, found list \[5\]",
        ),
        (
            {"instruments": [5]},
            r"option 'instruments' has the wrong type; expected Sequence\[Instrument\], found list \[5\]",
        ),
        ({"report": 5}, r"option 'report' has the wrong type; expected ProgressReport, found int 5"),
        (
            {"affinity": [("a",)], "calibration": "random"},
            r"wrong affinity; expected pairs of a name and a place, found \[\('a',\)\]",
        ),
    ],
)
def test_options_of_wrong_types(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(MODEL, **options)


def test_models_of_wrong_types(tmp_path: Path) -> None:
    expected = (
        r"option 'model' has the wrong type; "
        r"expected str \| os.PathLike\[str\] \| bytes \| ModelProto \| Document, found int 5"
    )
    with pytest.raises(UsageError, match=expected):
        call(5)
    with pytest.raises(UsageError, match=expected):
        untyped_export(5, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"option 'output' has the wrong type; .* found int 5"):
        untyped_export(MODEL, 5)


def test_an_export_takes_the_options_that_have_a_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^option 'machine' has no use for what is exported\. Leave it out\.$"):
        tilewright.export(MODEL, tmp_path / "m.onnx", machine="s256")
    with pytest.raises(
        UsageError, match=r"^option 'time_limit' has the wrong type; expected float \| None, found ndarray"
    ):
        untyped_export(MODEL, tmp_path / "m.onnx", time_limit=np.zeros(2))
    with pytest.raises(
        TypeError, match=r"^tilewright.export\(\) got an unexpected keyword .* Did you mean 'quantized'\?$"
    ):
        untyped_export(MODEL, tmp_path / "m.onnx", quantised="qdq")


def test_paths_in_bytes_are_no_models() -> None:
    (entry,) = (each for each in os.scandir(os.fsencode(MODEL.parent)) if each.name == os.fsencode(MODEL.name))
    with pytest.raises(UsageError, match=r"option 'model' has the wrong type; .* found DirEntry"):
        call(entry)
    with pytest.raises(ModelError, match=r"the data is the path of a file, and no model\. Give the path as a text, '/"):
        call(entry.path)


def test_models_that_onnx_has_loaded(tmp_path: Path) -> None:
    model = onnx.load(MODEL)
    assert tilewright.compile(model).digest == tilewright.compile(model.SerializeToString()).digest
    assert untyped_export(model, tmp_path / "m.onnx") == untyped_export(MODEL, tmp_path / "n.onnx")


def test_unknown_keywords_are_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match=r"too many positional arguments\. Give options by name\.$"):
        tilewright.compile("m.onnx", "m.twa")  # pyright: ignore[reportCallIssue]
    with pytest.raises(
        TypeError,
        match=r"^tilewright.compile\(\) got an unexpected keyword argument 'precison'. Did you mean 'precision'\?$",
    ):
        call(MODEL, precison="int8")
    with pytest.raises(TypeError, match=r"^tilewright.compile\(\) missing a required argument: 'model'$"):
        call()


def test_options_of_the_command_work_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = load_digits()
    artifact = tilewright.compile(
        MODEL,
        calibration=iter(digits.prepare(digits.calibration_images)),
        calibration_method="percentile",
        percentile=99.9,
        calibration_limit=4,
        machine="s256",
        engines=["device", "float"],
        affinity={"probabilities": "cpu"},
        devices="device,cpu",
        target="portable",
        dump=tmp_path / "dump",
        print_after=["fuse"],
        time_passes=True,
    )
    assert list((tmp_path / "dump").rglob("*.tw"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "// after fuse" in shown.err
    assert artifact.manifest.details["machine"] == "S256"
    assert artifact.manifest.cpu_programs["float"].target.cpu == "portable"


def test_times_cover_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    tilewright.compile(MODEL, calibration="random", calibration_limit=1, time_passes=True)
    lines = capsys.readouterr().err.splitlines()
    for stage in ("import", "calibration", "kernels (calibration)", "kernels (software)", "quantize", "partition"):
        assert any(line.startswith(f"{stage} ") for line in lines), stage
    assert lines[-1].startswith("total ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int9"}, "unknown precision; expected fp32 or bf16 or int8, found int9"),
        ({"accuracy": "most"}, "unknown accuracy; expected normal or exact, found most"),
        ({"effort": "most"}, "unknown effort; expected quick or normal or thorough, found most"),
        ({"stationary": "outputs"}, "unknown stationary; expected cheapest or weights or inputs, found outputs"),
        ({"calibration_method": "max"}, "unknown calibration method; expected mse or minmax or percentile, found max"),
        ({"preprocessing": 3}, "wrong preprocessing; expected a mapping, text or Preprocessing, found int"),
        ({"preprocessing": {"sise": 3}}, "wrong preprocessing: sise; expected resize, "),
        ({"preprocessing": {1: 2}}, "wrong preprocessing: 1; expected resize, "),
        ({"percentile": 99.0}, "--percentile has no use for the method mse. Give --calibration-method percentile, "),
        ({"target": "486"}, "no such target; expected host, portable, "),
        ({"print_after": "fuse"}, "option 'print_after' has the wrong type; expected Sequence[str] | None, found str"),
        ({"print_after": ["fusee"]}, "there is no pass 'fusee' to print after. Did you mean 'fuse'?"),
    ],
    ids=str,
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(MODEL, calibration=np.zeros((1, 1, 8, 8), np.float32), **options)
    assert str(caught.value).startswith(message)


def test_calibration_data_of_a_quantised_model_is_said_to_be_unused() -> None:
    from network_files import partly_quantized_model

    model = partly_quantized_model().SerializeToString()
    artifact = tilewright.compile(model, calibration="random", engines="software")
    assert artifact.manifest.details["warnings"] == [
        "the model is already quantised: the calibration data was not used"
    ]
    for name in ("keep_float", "wide"):
        artifact = call(model, engines="software", **{name: ["conv"]})
        flag = name.replace("_", "-")
        told = f"the model is already quantised: --{flag} has no effect, what it names is as the model has it"
        assert artifact.manifest.details["warnings"] == [told]


@pytest.mark.parametrize("name", ["keep_float", "wide"])
def test_names_that_a_quantised_model_does_not_have_are_refused(name: str, tmp_path: Path) -> None:
    from network_files import partly_quantized_model

    model, unknown = partly_quantized_model().SerializeToString(), {name: ["no such op"]}
    flag = name.replace("_", "-")
    for write in (call, partial(untyped_export, output=tmp_path / "m.onnx", quantized="qdq")):
        with pytest.raises(PassError, match=f"--{flag} names ops that the network does not have; found 'no such op'"):
            write(model, **unknown)
    with pytest.warns(CalibrationWarning, match=f"already quantised: --{flag} has no effect"):
        untyped_export(model, tmp_path / "m.onnx", quantized="qdq", **{name: ["conv"]})


def test_the_artifact_says_how_images_became_calibration_data(tmp_path: Path) -> None:
    for index, image in enumerate(load_digits().calibration_images[:2]):
        Image.fromarray(image[0]).save(tmp_path / f"{index}.png")
    artifact = tilewright.compile(MODEL, calibration=tmp_path, preprocessing="resize=stretch,mean=8,scale=1/8")
    stored = (details_of(artifact).images or {})["image"]
    assert stored.read("image") == Preprocessing(resize="stretch", mean=(8,), scale=(1 / 8,))
    assert (stored.origin, stored.calibrated) == ("given", True)
    digits = load_digits()
    artifact = tilewright.compile(MODEL, calibration=digits.prepare(digits.calibration_images[:2]))
    assert details_of(artifact).images is None
    stored = (details_of(tilewright.compile(MODEL, preprocessing="tf")).images or {})["image"]
    assert (stored.origin, stored.calibrated) == ("preset tf", False)
