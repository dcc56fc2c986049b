"""Programs for the Inference Engine API: unedited, under ``tilewright.compat``, on files of several versions.

Each must give the numbers that `tilewright.load` gives of the same file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from compat_programs import Programs, draw_pictures, lay_out, read_arrays
from ir_networks import picture_network, style_network
from legacy_detectors import mobilenet_ssd_like
from legacy_networks import fcn_like, resnet_like
from PIL import Image

import tilewright


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return lay_out("inference_engine", tmp_path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_pictures(tmp_path_factory.mktemp("pictures") / "images", 5)


def pixels(path: Path, size: Sequence[int]) -> np.ndarray:
    """A picture as the programs read it: float32 [1, 3, *size], blue before red, 0 to 255."""
    with Image.open(path) as picture:
        array = np.array(picture.convert("RGB"))[:, :, ::-1]
    if array.shape[:2] != tuple(size):
        array = np.array(Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return array.transpose(2, 0, 1)[None].astype(np.float32)


def expected(
    model: Path, inputs: np.ndarray, *more: np.ndarray, engine: str | None = None, calibration: Path | None = None
) -> np.ndarray:
    """The only output of a network, for several inputs one after the other; of its integers if there is calibration."""
    artifact = tilewright.compile(model, input_shapes={"data": inputs.shape}, calibration=calibration)
    with tilewright.load(artifact, engine=engine) as session:
        return outputs(session, inputs, *more)


def outputs(session: tilewright.Session, *inputs: np.ndarray) -> np.ndarray:
    """The only output for several inputs, one after the other."""
    return np.concatenate([next(iter(session.run({"data": each}).values())) for each in inputs])


def saved(programs: Programs) -> np.ndarray:
    return read_arrays(programs.file("x", "found.npz"))["result"]


@pytest.mark.parametrize(("version", "precision"), [(2, "FP32"), (7, "FP16")])
def test_classification(version: int, precision: str, programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    model = resnet_like(version, precision).write(tmp_path)
    library = tmp_path / "libcpu_extension.so"
    library.write_bytes(b"no library")
    options = ("-m", model, "-ni", 3, "-pc", "-l", library, "-pp", "", "-i", *pictures[:3])
    shown = programs.run("classification.py", *options, fresh=True)
    inputs = np.concatenate([pixels(path, (32, 32)) for path in pictures[:3]])
    wanted = expected(model, inputs)
    assert saved(programs).tobytes() == wanted.tobytes()
    for path, row in zip(pictures, wanted[:3].reshape(3, -1), strict=False):
        assert f"Image {path}\n\n{row.max():.7f} label #{row.argmax()}\n" in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("conv1 "))
    _, layer_type, _, status, time = line.split()
    assert (layer_type, status, int(time) > 0) == ("Convolution", "EXECUTED", True)
    assert "Warning" not in shown


def test_classification_of_ir_v10(programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    model = picture_network(tmp_path)
    programs.run("classification.py", "-m", model, "-i", *pictures[:2])
    inputs = np.concatenate([pixels(path, (32, 32)) for path in pictures[:2]])
    assert saved(programs).tobytes() == expected(model, inputs).tobytes()


def test_a_missing_library_ends_the_program(programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    options = ("-m", resnet_like(2).write(tmp_path), "-i", pictures[0], "-l", tmp_path / "missing.so")
    shown = programs.run("classification.py", *options, status=1)
    assert "[NOT_FOUND] cannot load library" in shown.splitlines()[-1]


def test_classification_in_batches(programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    model = resnet_like(5).write(tmp_path)
    shown = programs.run("classification_async.py", "-m", model, "-b", 2, "-nireq", 2, "-i", *pictures)
    images = [pixels(path, (32, 32)) for path in pictures]
    pairs = [np.concatenate(images[first : first + 2]) for first in (0, 2)]
    found, wanted = saved(programs), expected(model, *pairs, np.concatenate([images[4], images[3]]))
    assert found.tobytes() == wanted[:5].tobytes()
    assert "called [(0, 0), (1, 0), (2, 0)]\n" in shown
    assert "again True\n" in shown


@pytest.mark.parametrize("device", ["CPU", "MULTI:CPU,GPU"])
def test_a_request_that_is_started_again_by_its_callback(
    device: str, programs: Programs, pictures: list[Path], tmp_path: Path
) -> None:
    model = resnet_like(5, "FP16").write(tmp_path)
    shown = programs.run("classification_blobs.py", "-m", model, "-d", device, "-ni", 10, "-i", *pictures[:2])
    inputs = np.concatenate([pixels(path, (32, 32)) for path in pictures[:2]])
    wanted = expected(model, inputs)
    assert saved(programs).tobytes() == wanted.tobytes()
    assert shown.count("DeviceWarning") == device.count("GPU")
    assert f"repeated 10 dims {' '.join(map(str, wanted.shape))}\n" in shown


@pytest.mark.parametrize("options", [("-api", "sync"), ("-api", "async", "-nireq", 2)])
def test_inferences_in_a_row(
    options: tuple[object, ...], programs: Programs, pictures: list[Path], tmp_path: Path
) -> None:
    """Programs that measure count what is under way: by the callback what they start, by themselves what they await."""
    model = resnet_like(7, "FP16").write(tmp_path)
    shown = programs.run("benchmark.py", "-m", model, "-ni", 7, "-b", 2, *options, "-i", *pictures[:2])
    assert "count 7 latencies True\n" in shown
    wanted = expected(model, np.concatenate([pixels(path, (32, 32)) for path in pictures[:2]]))
    found = saved(programs)
    assert len(found) > 0
    for each in found:
        assert each.tobytes() == wanted.tobytes()


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, tilewright.Session]]:
    """A network, and a session for it: its kernels take long to generate."""
    model = mobilenet_ssd_like(4, "FP16").write(tmp_path_factory.mktemp("detector"))
    with tilewright.load(tilewright.compile(model)) as session:
        yield model, session


@pytest.mark.parametrize("toggle", [-1, 3])
def test_objects_in_a_video(
    toggle: int, detector: tuple[Path, tilewright.Session], programs: Programs, tmp_path: Path
) -> None:
    """At frame i the request of frame i - 1 is read, and at the first one nothing; in step from the change of mode."""
    frames = draw_pictures(tmp_path / "frames", 6, (80, 64))
    model, session = detector
    shown = programs.run(
        "ssd_async.py", "-m", model, "-i", frames[0].parent, "--toggle", toggle, "-pt", 0.5, "-o", "found.npz"
    )
    found, numbers = saved(programs), read_arrays(programs.file("x", "found.npz"))["numbers"].tolist()
    assert numbers == ([0, 1, 2, 3, 4] if toggle < 0 else [0, 1, 3, 4, 5])
    assert f"statuses -11 {' '.join('0' * 5)}\n" in shown
    objects = 0
    wanted = outputs(session, *(pixels(frames[number], (64, 80)) for number in numbers))
    assert found.tobytes() == wanted.tobytes()
    for rows in wanted[:, 0]:
        end = next((row for row, line in enumerate(rows) if line[0] == -1), len(rows))
        assert not rows[end + 1 :].any()
        objects += int((rows[:, 2] > 0.5).sum())
    assert shown.count("\nframe ") + shown.startswith("frame ") == objects > 0


def test_objects_in_pictures_of_several_sizes(
    detector: tuple[Path, tilewright.Session], programs: Programs, tmp_path: Path
) -> None:
    """The blob of each picture is resized, and means are subtracted in the network."""
    model, session = detector
    sizes = [(80, 64), (96, 40), (50, 70)]
    files = [draw_pictures(tmp_path / f"{size[0]}", 1, size)[0] for size in sizes]
    options = ("-m", model, "-d", "AUTO", "-nireq", 2, "-i", files[0], files[1], files[2], files[0])
    shown = programs.run("detection_blobs.py", *options)
    found = saved(programs)
    assert found[0].tobytes() == found[3].tobytes()
    means = np.array([104, 117, 123], np.float32).reshape(3, 1, 1)
    wanted = outputs(session, pixels(files[0], (64, 80)) - means)
    np.testing.assert_allclose(found[:1], wanted, atol=1e-4)
    assert f"rows {int((found[:, 0, :, 2] > 0.5).sum())}\n" in shown


def test_affinities_with_an_absent_device(programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    model = resnet_like(2).write(tmp_path)
    shown = programs.run("affinity_setting.py", "-m", model, "-pc", "-i", *pictures[:2])
    inputs = np.concatenate([pixels(path, (32, 32)) for path in pictures[:2]])
    assert saved(programs).tobytes() == expected(model, inputs).tobytes()
    assert shown.count("DeviceWarning") == 1
    assert "are given to GPU, which is not here, and run on CPU" in shown
    assert "affinities GPU\n" in shown
    text = programs.file("x", "hetero_subgraphs_resnet_like.dot").read_text()
    assert "conv1\\nConvolution\\nGPU\\nsubgraph" in text
    assert "subgraph1: " in shown


def test_affinities_of_the_accelerator(programs: Programs, pictures: list[Path], tmp_path: Path) -> None:
    model = resnet_like(3).write(tmp_path)
    samples = tmp_path / "samples.npz"
    np.savez(samples, data=np.concatenate([pixels(path, (32, 32)) for path in pictures]))
    calibrated = Programs(programs.root, {"TILEWRIGHT_CALIBRATION": str(samples)})
    options = ("-m", model, "-d", "HETERO:FPGA,CPU", "--give", "SoftMax=CPU", "-i", pictures[0])
    shown = calibrated.run("affinity_setting.py", *options)
    wanted = expected(model, pixels(pictures[0], (32, 32)), engine="software", calibration=samples)
    assert saved(programs).tobytes() == wanted.tobytes()
    assert "Warning" not in shown
    text = programs.file("x", "hetero_affinity_resnet_like.dot").read_text()
    assert "conv1\\nConvolution\\nFPGA" in text
    assert "prob\\nSoftMax\\nCPU" in text


def test_pictures_as_outputs(programs: Programs, tmp_path: Path) -> None:
    (picture,) = draw_pictures(tmp_path / "images", 1, (32, 24))
    model = style_network(tmp_path)
    shown = programs.run("style_transfer.py", "-m", model, "-i", picture, "--mean_val_r", 20)
    wanted = expected(model, pixels(picture, (24, 32)))
    assert saved(programs).tobytes() == wanted.tobytes()
    assert wanted.min() < 0 and wanted.max() > 255
    painted = np.clip(wanted[0].transpose(1, 2, 0) + np.array([0, 0, 20]), 0, 255)
    with Image.open(programs.file("x", "out_0.bmp")) as image:
        np.testing.assert_array_equal(np.array(image)[:, :, ::-1], np.rint(painted).astype(np.uint8))
    assert f"Result image was saved to {programs.file('x', 'out_0.bmp')}\n" in shown


def test_a_class_for_each_pixel(programs: Programs, tmp_path: Path) -> None:
    (picture,) = draw_pictures(tmp_path / "images", 1, (56, 40))
    model = fcn_like(5).write(tmp_path)
    programs.run("segmentation.py", "-m", model, "-i", picture)
    wanted = expected(model, pixels(picture, (40, 56)))
    assert saved(programs).tobytes() == wanted.tobytes()
    with Image.open(programs.file("x", "out_0.bmp")) as image:
        colours = np.array(image)[:, :, ::-1]
    for index in np.unique(wanted.argmax(1)):
        assert len(np.unique(colours[wanted[0].argmax(0) == index], axis=0)) == 1


@pytest.mark.parametrize(
    "name", ["mobilenet_v1_0.25_128_f32", pytest.param("mobilenet_v2_1.0_224_f32", marks=pytest.mark.sweep)]
)
def test_real_networks(name: str, programs: Programs, data_folder: Path, tmp_path: Path) -> None:
    from tilewright.compiler.frontend.formats import import_model
    from tilewright.compiler.frontend.ir.exporter import export_document
    from tilewright.compiler.frontend.ir.writer import write_document

    model = tmp_path / f"{name}.xml"
    document = export_document(import_model(data_folder / "models" / f"{name}.onnx"))
    write_document(document, model, model.with_suffix(".bin"))
    photos = sorted((data_folder / "images" / "imagenet500").iterdir())[:2]
    programs.run("classification.py", "-m", model, "-i", *photos)
    arrays = read_arrays(programs.file("x", "found.npz"))
    artifact = tilewright.compile(data_folder / "models" / f"{name}.onnx")
    with tilewright.load(artifact) as session:
        (spec,) = session.inputs
        for image, row in zip(arrays["images"].astype(np.float32), arrays["result"], strict=True):
            (wanted,) = session.run({spec.name: image[None]}).values()
            np.testing.assert_allclose(row, wanted[0], atol=1e-5)
