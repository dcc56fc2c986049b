"""Every way to call the Accelerator API wrongly: the documented code, and a text that says what to do."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import accelerator_networks as networks
import numpy as np
import pytest

import tilewright
from tilewright.runtime.api.accelerator import FWDNXT, MDLA, Accelerator, AcceleratorError
from tilewright.runtime.api.accelerator.errors import ContainerError, InitError
from tilewright.runtime.api.accelerator.facts import Network
from tilewright.runtime.api.accelerator.networks.binary import Batch, save

pytestmark = pytest.mark.filterwarnings("ignore::tilewright.errors.CalibrationWarning")
ONES = np.ones(4, np.float32)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def second() -> FWDNXT:
    """With y = x + x of 4 numbers in double.onnx, compiled in double.bin."""
    ie = FWDNXT()
    networks.doubling(Path("double.onnx"))
    ie.Compile("1x1x4", "double.onnx", "double.bin")
    return ie


@pytest.fixture
def ready(second: FWDNXT) -> FWDNXT:
    second.Init("double.bin", "")
    return second


@pytest.fixture
def third(second: FWDNXT) -> MDLA:
    ie = MDLA()
    ie.Init("double.bin")
    return ie


def failure(call: Callable[[], object]) -> AcceleratorError:
    with pytest.raises(AcceleratorError) as caught:
        call()
    return caught.value


def test_the_common_class_alone_is_no_accelerator() -> None:
    with pytest.raises(TypeError, match="make one of these"):
        Accelerator()


def test_errors_are_exceptions_with_the_documented_code(ready: FWDNXT) -> None:
    error = failure(lambda: ready.SetFlag("no such flag", "1"))
    assert isinstance(error, Exception)
    assert (error.args[0], error.code) == (-1, -1)
    assert str(error).startswith("SetFlag: there is no such flag")
    assert isinstance(error, tilewright.errors.TilewrightError)


@pytest.mark.parametrize(
    "call",
    [
        lambda ie: ie.Run(ONES, ONES.copy()),
        lambda ie: ie.Run_sw(ONES, ONES.copy()),
        lambda ie: ie.Run_th(ONES, ONES.copy()),
        lambda ie: ie.PutInput(ONES, None),
        lambda ie: ie.PutInput(None, None),
        lambda ie: ie.GetResult(ONES.copy()),
    ],
)
@pytest.mark.parametrize("state", ["new", "compiled", "freed"])
def test_no_network_is_loaded(second: FWDNXT, call: Callable[[FWDNXT], object], state: str) -> None:
    ie = FWDNXT() if state == "new" else second
    if state == "freed":
        ie.Init("double.bin", "")
        ie.Free()
        ie.Free()
    error = failure(lambda: call(ie))
    assert error.code == -1
    assert re.fullmatch(r"(Run|PutInput|GetResult): no network is loaded\. Init loads one\.", str(error))


def test_no_network_is_loaded_in_the_third_generation() -> None:
    ie = MDLA()
    for call in (lambda: ie.Run(ONES), lambda: ie.Run_sw(ONES), lambda: ie.Run_th(ONES), ie.GetResult):
        assert str(failure(call)).endswith("no network is loaded. Compile or Init loads one.")


@pytest.mark.parametrize("images", ["text", 5, None, {}, {"x": ONES}, (), [], [1, 2], (ONES, "text"), [[]], [["text"]]])
def test_other_containers(ready: FWDNXT, third: MDLA, images: object) -> None:
    for call in (lambda: ready.Run(images, ONES.copy()), lambda: third.Run(images), lambda: third.Run_th(images)):
        error = failure(call)
        assert isinstance(error, ContainerError)
        assert error.args[0] == "Input must be ndarray or tuple to ndarrays"
        assert str(error).startswith("Input must be ndarray or tuple to ndarrays; found ")
        assert error.code == -1
    if images is not None:
        assert isinstance(failure(lambda: third.PutInput(images, None)), ContainerError)
    assert isinstance(failure(lambda: ready.Run(ONES, images)), ContainerError)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (
            np.ones(3, np.float32),
            "input: input 'x' does not hold whole images; expected 4 elements, as [1, 4], for each",
        ),
        (np.ones((1, 5), np.float32), "found 5, as [1, 5]"),
        (np.ones(0, np.float32), "found 0, as [0]"),
        ((ONES, np.ones(2, np.float32)), "found 2, as [2]"),
    ],
)
def test_wrong_sizes(ready: FWDNXT, third: MDLA, images: np.ndarray, text: str) -> None:
    for call in (
        lambda: ready.Run(images, np.zeros(100, np.float32)),
        lambda: third.Run(images),
        lambda: third.PutInput(images, None),
    ):
        assert text in str(failure(call))


@pytest.mark.parametrize("dtype", ["f8", "i4", "u1", "f2", "c8", "U4", "O"])
def test_wrong_types(ready: FWDNXT, third: MDLA, dtype: str) -> None:
    images = np.ones(4).astype(dtype)
    error = failure(lambda: ready.Run(images, ONES.copy()))
    assert str(error) == (
        f"input: input 'x' has the wrong dtype; expected float32, found {images.dtype}. "
        "Convert it with array.astype('float32')."
    )
    if images.dtype.kind in "cUO":
        assert "input 'x' is not of numbers" in str(failure(lambda: third.Run(images)))


def test_numbers_that_an_integer_network_does_not_take() -> None:
    networks.doubling(Path("net.onnx"), networks.TensorProto.UINT8)
    ie = MDLA()
    ie.Compile("net.onnx")
    for values in ([0, 256, 0, 0], [-1, 0, 0, 0], [np.nan, 0, 0, 0], [np.inf, 0, 0, 0]):
        error = failure(lambda values=values: ie.Run(np.array(values, np.float32)))
        assert "input 'x' holds numbers that the network does not take; expected 0 to 255, found" in str(error)


def test_another_number_of_inputs() -> None:
    networks.addition(Path("add.onnx"))
    ie = MDLA()
    ie.Compile("add.onnx")
    ones = np.ones(8, np.float32)
    error = failure(lambda: ie.Run(ones))
    assert str(error) == (
        "input: the network has another number of inputs; expected 2 arrays: a: f32[1,8,1,1], b: f32[1,8,1,1], found 1"
    )
    assert "found 3" in str(failure(lambda: ie.Run([ones, ones, ones])))
    error = failure(lambda: ie.Run((ones, np.ones(16, np.float32))))
    assert str(error) == "input: the inputs hold different numbers of images; found 1 of 'a', 2 of 'b'"


def test_results_that_do_not_fit(ready: FWDNXT) -> None:
    def run(result: object) -> str:
        return str(failure(lambda: ready.Run(ONES, result)))

    assert run(np.zeros(3, np.float32)) == (
        "result: the result for 'y' is too small; expected 4 elements for 1 image, found 3"
    )
    assert run(np.zeros(4)) == "result: the result for 'y' has the wrong dtype; expected float32, found float64"
    assert run((ONES.copy(), ONES.copy())) == (
        "result: the network has another number of outputs; expected 1 array: y: f32[1,4], found 2"
    )
    fixed = ONES.copy()
    fixed.flags.writeable = False
    assert run(fixed) == "result: the result for 'y' is read-only"
    two, result = np.ones(8, np.float32), np.full(7, 9, np.float32)
    assert "expected 8 elements for 2 images, found 7" in str(failure(lambda: ready.Run(two, result)))
    assert (result == 9).all()
    assert "the network has another number of outputs" in str(failure(lambda: ready.GetResult((ONES, ONES))))


def test_a_wrong_result_array_costs_no_result(ready: FWDNXT) -> None:
    ready.PutInput(ONES, "kept")
    failure(lambda: ready.GetResult(np.zeros(1, np.float32)))
    failure(lambda: ready.GetResult("text"))
    result = np.zeros(4, np.float32)
    assert ready.GetResult(result) == "kept"
    assert result.tolist() == [2, 2, 2, 2]


def test_a_refused_input_takes_no_buffer(ready: FWDNXT) -> None:
    ready.SetFlag("blockingmode", "0")
    for _ in range(5):
        failure(lambda: ready.PutInput(np.ones(3, np.float32), None))
    assert ready.PutInput(ONES, 1)
    assert ready.PutInput(ONES, 2)
    assert not ready.PutInput(ONES, 3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("224x224", "double.onnx", "a.bin"), "this is no size; expected WxHxP, WxHxPxB or WxHxDxPxB, found '224x224'"),
        (("", "double.onnx", "a.bin"), "no size of the input; expected a size such as 224x224x3, or the path of a"),
        (("dog.jpg", "double.onnx", "a.bin"), "or the path of a picture, found 'dog.jpg'"),
        (("double.bin", "double.onnx", "a.bin"), "double.bin"),
        (("1x1x4", "absent.onnx", "a.bin"), "cannot read 'absent.onnx': No such file or directory"),
        (("1x1x4", "double.bin", "a.bin"), "'double.bin' is a Tilewright artifact, no ONNX model"),
        (("1x1x4", ".", "a.bin"), "Compile: '.' is a folder; expected the path of an ONNX model, found a folder"),
        (("1x1x4", 5, "a.bin"), "this is no model; expected the path of an ONNX model, found int"),
        (("1x1x4;1x1x4", "double.onnx", "a.bin"), "there are more sizes than inputs; expected at most 1: x, found 2"),
        (
            ("1x1x5", "double.onnx", "a.bin"),
            "the size does not fit input 'x'; expected [1, 4], found 1x1x5, which is 5",
        ),
        (("1x1x4", "double.onnx", "absent/a.bin"), "absent/a.bin"),
        (("1x1x4", "double.onnx", "double.onnx"), "the output would replace the model; found double.onnx"),
        (("1x1x4", "double.onnx", ""), "the name of the output is empty"),
        (("1x1x4", "double.onnx", "a.bin", 0), "numcard is out of range; expected an integer of at least 1, found 0"),
        (("1x1x4", "double.onnx", "a.bin", 1, "2"), "numclus is out of range; expected an integer of at least 1"),
        (("1x1x4", "double.onnx", "a.bin", 1, 1, -2), "nlayers is out of range; expected an integer of at least -1"),
    ],
)
def test_compile_in_the_second_generation(second: FWDNXT, arguments: tuple, text: str) -> None:
    error = failure(lambda: second.Compile(*arguments))
    assert text in str(error)
    assert error.args == (-1,)
    assert not Path("a.bin").exists()


def test_a_picture_that_is_none(second: FWDNXT) -> None:
    pytest.importorskip("PIL.Image")
    Path("dog.jpg").write_bytes(b"no picture")
    assert "dog.jpg" in str(failure(lambda: second.Compile("dog.jpg", "double.onnx", "a.bin")))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("absent.bin", ""), "absent.bin"),
        (("double.onnx", ""), "double.onnx is not a Tilewright artifact"),
        (("", ""), "no network is named. Give a file, or call Loadmulti first."),
        (("double.bin", "bitfile.bit"), "machine 'bitfile.bit' is neither a sample nor a readable file"),
        (
            ("double.bin", "", 5),
            "nothing to share cards with; expected an object of this API, or its handle, found int",
        ),
    ],
)
def test_init_in_both_generations(second: FWDNXT, third: MDLA, arguments: tuple, text: str) -> None:
    error = failure(lambda: second.Init(*arguments))
    assert text in str(error)
    assert error.args == (-1,)
    error = failure(lambda: third.Init(*arguments))
    assert isinstance(error, InitError)
    assert error.args == ("Init failed",)
    assert str(error).startswith("Init failed: ")
    assert text in str(error)
    # What was loaded before still is.
    assert networks.array(third.Run(ONES)).tolist() == [[2, 2, 2, 2]]


def test_another_machine_than_the_programs(second: FWDNXT, integer_network: Network) -> None:
    save("digits.bin", integer_network.artifact, Batch())
    error = failure(lambda: second.Init("digits.bin", "m4096"))
    assert "the program was compiled for machine 'S256', this is 'M4096'" in str(error)
    assert "clusters: 1, 4" in str(error)
    # The flag is as it was, so that it can be tried again.
    assert second.GetInfo("bitfile") == ""
    assert second.Init("digits.bin", "s256") == 10
    assert second.GetInfo("bitfile") == "s256"


def test_a_bitfile_that_is_none(ready: FWDNXT) -> None:
    assert "machine 'bitfile.tgz' is neither" in str(failure(lambda: ready.SetFlag("bitfile", "bitfile.tgz")))
    assert "double.onnx: not JSON" in str(failure(lambda: ready.SetFlag("bitfile", "double.onnx")))
    assert ready.GetInfo("bitfile") == ""
    assert ready.GetInfo("hwversion") == "M4096"


def test_a_file_that_says_nonsense_of_its_batch(second: FWDNXT, integer_network: Network) -> None:
    save("digits.bin", integer_network.artifact, Batch(cards=-3))
    assert "field 'cards' is out of range" in str(failure(lambda: second.Init("digits.bin", "")))


@pytest.mark.parametrize("bins", ["a.bin", b"a.bin", (), [], 5, None, ("absent.bin",)])
def test_loadmulti(second: FWDNXT, bins: tuple[str, ...]) -> None:
    failure(lambda: second.Loadmulti(bins))
    failure(lambda: second.Init("", ""))


@pytest.mark.parametrize(
    ("flags", "arguments", "text"),
    [
        ({}, (1, 5), "there are not so many clusters; expected 1 to 4, found 5"),
        ({}, (65, 1), "there are not so many cards; expected 1 to 64, found 65"),
        ({"firstcluster": 3}, (1, 2), "the group of clusters does not lie on the card"),
    ],
)
def test_no_such_clusters(second: FWDNXT, flags: dict[str, object], arguments: tuple[int, int], text: str) -> None:
    second.SetFlag(flags)
    second.Compile("1x1x4", "double.onnx", "a.bin", *arguments)
    assert text in str(failure(lambda: second.Init("a.bin", "")))


def test_mvbatch_needs_multiples_of_four(second: FWDNXT) -> None:
    second.SetFlag({"mvbatch": 1, "imgs_per_cluster": 4})
    assert second.Compile("1x1x4", "double.onnx", "a.bin") == 16
    second.SetFlag("imgs_per_cluster", 6)
    error = failure(lambda: second.Compile("1x1x4", "double.onnx", "a.bin"))
    assert "expected imgs_per_cluster a multiple of 4, found 6" in str(error)


@pytest.mark.parametrize(
    ("arguments", "keywords", "text"),
    [
        (("absent.onnx",), {}, "cannot read 'absent.onnx'"),
        ((["double.onnx", "absent.onnx"],), {}, "cannot read 'absent.onnx'"),
        (([],), {}, "models side by side"),
        (("net.nnef",), {}, "'net.nnef' is in no format that is read; expected the path of an ONNX model, found .nnef"),
        (("saved",), {}, "Convert the saved model first: python -m tf2onnx.convert"),
        (("double.onnx", "1x4;1x4"), {}, "there are more sizes than inputs"),
        (("double.onnx", "1xx4"), {}, "this is no size; expected 1x3x224x224, with ; between inputs, found '1xx4'"),
        (("conv.onnx", "1x4x4x6"), {}, "the network does not allow inputs of this size"),
        (("open.onnx",), {}, "input 'x' has an open shape [1, 3, ?, ?]. Give the shapes with inshapes."),
        (("rankless.onnx",), {}, "input 'x' has an open shape of unknown rank. Give the shapes with inshapes."),
        (
            ("rankless.onnx",),
            {"samples": [ONES]},
            "input 'x' has an open shape of unknown rank. Give the shapes with inshapes.",
        ),
        (("double.onnx",), {"samples": []}, "there are no samples; expected a list of arrays"),
        (("double.onnx",), {"samples": 1}, "there are no samples; expected a list of arrays, found int"),
        (("double.onnx",), {"samples": np.ones(3)}, "input 'x' does not hold whole images"),
        (("double.onnx",), {"samples": [np.ones(3)]}, "input 'x' does not hold whole images"),
        (("double.onnx",), {"samples": ["a.jpg"]}, "Input must be ndarray or tuple to ndarrays"),
        (
            ("open.onnx",),
            {"samples": [ONES]},
            "input 'x' has an open shape [1, 3, ?, ?]. Give the shapes with inshapes.",
        ),
        (("conv.onnx",), {"samples": [np.full((3, 4, 6), np.nan)]}, "not finite"),
        (("double.onnx",), {"MDLA": "a"}, "nothing to share cards with"),
        (("double.onnx",), {"outfile": "absent/a.bin"}, "absent/a.bin"),
        (("double.onnx", "double.onnx"), {}, "the output would replace the model; found double.onnx"),
        (("double.onnx",), {"outfile": 3}, "outfile is no path; expected text, found 3"),
    ],
)
def test_compile_in_the_third_generation(third: MDLA, arguments: tuple, keywords: dict, text: str) -> None:
    Path("saved").mkdir()
    Path("saved/saved_model.pb").touch()
    networks.convolution(Path("conv.onnx"))
    networks.convolution(Path("open.onnx"), "h", "w", "n")
    relu = networks.graph_model([networks.helper.make_node("Relu", ["x"], ["y"])], [("x", networks.FLOAT, None)])
    networks.write_model(Path("rankless.onnx"), relu)
    error = failure(lambda: third.Compile(*arguments, **keywords))
    assert isinstance(error, InitError)
    assert error.args[0] == "Init failed"
    assert text in str(error)


ODD = (None, 5, 1.5, b"x", object(), [], {}, np.ones(3), np.float32(1), "\0", "a" * 5000)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_arguments_of_any_other_kind(second: FWDNXT, third: MDLA, odd: object) -> None:
    """Whatever is given where a text, a path or a number belongs."""
    file, model, size = "double.bin", "double.onnx", "1x1x4"
    calls: list[tuple[Callable[..., object], Sequence[object], dict[str, object]]] = [
        (second.Compile, [odd, model, "a.bin"], {}),
        (second.Compile, [size, odd, "a.bin"], {}),
        (second.Compile, [size, model, odd], {}),
        *((each.Init, [odd, ""], {}) for each in (second, third)),
        (second.Init, [file, odd], {}),
        *((each.Loadmulti, [[odd]], {}) for each in (second, third)),
        (third.Compile, [odd], {}),
        (third.Compile, [[odd]], {}),
        (third.Compile, [model], {"samples": [odd]}),
        (third.GO, [size, model, odd, ONES, ONES.copy()], {}),
        *((each.GetInfo, [odd], {}) for each in (second, third)),
    ]
    if not isinstance(odd, (int, np.floating)):  # Whole numbers come as floats, too.
        calls += [(second.Compile, [size, model, "a.bin"], {name: odd}) for name in ("numcard", "numclus", "nlayers")]
        calls += [(each.SetFlag, ["nclusters", odd], {}) for each in (second, third)]
    for call, arguments, keywords in calls:
        failure(lambda call=call, arguments=arguments, keywords=keywords: call(*arguments, **keywords))


def test_an_operator_that_is_not_there(third: MDLA) -> None:
    model = networks.graph_model([networks.helper.make_node("NonMaxSuppression", ["x", "x"], ["y"])])
    networks.write_model(Path("net.onnx"), model)
    assert "NonMaxSuppression" in str(failure(lambda: third.Compile("net.onnx")))


def test_errors_of_calls_on_other_threads_reach_them(ready: FWDNXT) -> None:
    found: list[object] = []

    def run() -> None:
        found.append(failure(lambda: ready.Run(np.ones(3, np.float32), ONES.copy())).code)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [-1] * 4
