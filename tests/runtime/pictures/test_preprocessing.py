"""Images become inputs exactly as declared, and wrong declarations are refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tilewright.errors import ArtifactError, InputError, ModelError, UsageError
from tilewright.runtime.pictures.inputs import Declared, ImageInput, ImageInputs, chosen, declared, stored_inputs
from tilewright.runtime.pictures.preprocessing import Preprocessing


def image_of(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8))


def input_type(*shape: int, dtype: str = "f4") -> tuple[tuple[int, ...], np.dtype]:
    return shape, np.dtype(dtype)


def test_pixels_are_centred_scaled_and_put_in_channel_order(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (4, 5, 3))
    declared = Preprocessing(resize="stretch", colour="bgr", mean=(1, 2, 3), scale=(0.5, 0.25, 2))
    found = declared.apply(image_of(pixels), *input_type(1, 3, 4, 5))
    expected = (pixels[..., ::-1].astype(np.float32) - [1, 2, 3]) * [0.5, 0.25, 2]
    np.testing.assert_array_equal(found, expected.transpose(2, 0, 1)[np.newaxis].astype(np.float32))
    assert found.flags.c_contiguous


def test_channels_last(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (4, 5, 3))
    declared = Preprocessing(resize="stretch", mean=(0,), scale=(1,), layout="nhwc")
    np.testing.assert_array_equal(declared.apply(image_of(pixels), *input_type(1, 4, 5, 3))[0], pixels)


def test_grey_input_takes_luminance_and_grey_colour_fills_three_channels() -> None:
    pixels = np.full((4, 4, 3), (255, 0, 0))
    plain = Preprocessing(resize="stretch", mean=(0,), scale=(1,))
    assert set(plain.apply(image_of(pixels), *input_type(1, 1, 4, 4)).ravel()) == {76.0}
    grey = replace(plain, colour="grey")
    assert set(grey.apply(image_of(pixels), *input_type(1, 3, 4, 4)).ravel()) == {76.0}


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_last_of_two_and_four_channels_is_alpha(rng: np.random.Generator, layout: str) -> None:
    pixels = rng.integers(0, 256, (4, 5, 4))
    plain = Preprocessing.of({"resize": "stretch", "mean": 0, "scale": 1, "layout": layout})

    def made(of: np.ndarray, by: Preprocessing, channels: int) -> np.ndarray:
        shape = (1, channels, 4, 5) if layout == "nchw" else (1, 4, 5, channels)
        found = by.apply(image_of(of), *input_type(*shape))[0]
        return found.transpose(1, 2, 0) if layout == "nchw" else found

    np.testing.assert_array_equal(made(pixels, plain, 4), pixels)
    np.testing.assert_array_equal(made(pixels, replace(plain, colour="bgr"), 4), pixels[..., [2, 1, 0, 3]])
    np.testing.assert_array_equal(made(pixels[..., :3], plain, 4)[..., 3], np.full((4, 5), 255))
    luminance = made(pixels[..., :3], plain, 1)
    for colour in ("rgb", "bgr", "grey"):
        found = made(pixels, replace(plain, colour=colour), 2)
        np.testing.assert_array_equal(found, np.concatenate([luminance, pixels[..., 3:]], -1))
    found = made(pixels, replace(plain, colour="grey"), 4)
    np.testing.assert_array_equal(found, np.concatenate([*[luminance] * 3, pixels[..., 3:]], -1))
    each = replace(plain, mean=(1, 2, 3, 4), scale=(1, 2, 4, 8))
    np.testing.assert_array_equal(made(pixels, each, 4), (pixels - [1, 2, 3, 4]) * [1, 2, 4, 8])


@pytest.mark.parametrize(("channels", "expected"), [(2, [200, 255]), (4, [200, 200, 200, 255])])
def test_around_a_letterbox_everything_is_opaque(channels: int, expected: list[int]) -> None:
    pixels = np.full((20, 40, 4), (9, 9, 9, 90))
    declared = Preprocessing(resize="letterbox", fill=200, mean=(0,), scale=(1,))
    found = declared.apply(image_of(pixels), *input_type(1, channels, 8, 8))[0]
    assert found[:, 0, 0].tolist() == expected
    assert found[-1, 4, 4] == 90


def test_shorter_side_keeps_the_centre_undistorted() -> None:
    # A vertical line in the middle of a wide image stays in the middle.
    pixels = np.zeros((40, 80, 3))
    pixels[:, 39:41] = 255
    declared = Preprocessing(resize="shorter", fraction=1.0, interpolation="nearest", mean=(0,), scale=(1,))
    found = declared.apply(image_of(pixels), *input_type(1, 3, 40, 40))
    assert found.shape == (1, 3, 40, 40)
    assert set(np.flatnonzero(found[0, 0, 0])) == {19, 20}


def test_central_cuts_the_box_of_each_side() -> None:
    pixels = np.zeros((40, 80, 3))
    pixels[10:30, 20:60] = 200
    declared = Preprocessing(resize="central", fraction=0.5, interpolation="nearest", mean=(0,), scale=(1,))
    found = declared.apply(image_of(pixels), *input_type(1, 3, 20, 20))
    assert (found == 200).all()


def test_integer_inputs_are_rounded_and_saturated() -> None:
    declared = Preprocessing(resize="stretch", mean=(100.4,), scale=(1,))
    pixels = np.stack([np.full((2, 2), v) for v in (0, 101, 255)], -1)
    found = declared.apply(image_of(pixels), *input_type(1, 3, 2, 2, dtype="i1"))
    assert [int(c[0, 0]) for c in found[0]] == [-100, 1, 127]


def test_parses_pairs_and_json_alike() -> None:
    pairs = Preprocessing.of("resize=central, fraction=0.9,mean=123.5/116/103.5,scale=0.017,colour=bgr")
    json = Preprocessing.of(
        '{"resize": "central", "fraction": 0.9, "mean": [123.5, 116, 103.5], "scale": 0.017, "colour": "bgr"}'
    )
    assert pairs == json
    assert pairs.mean == (123.5, 116.0, 103.5)
    assert Preprocessing.of("") == Preprocessing()
    assert Preprocessing.of({"mean": 3, "scale": [1, 2, 3]}) == Preprocessing(mean=(3,), scale=(1, 2, 3))


def test_two_numbers_are_a_quotient() -> None:
    assert Preprocessing.of("mean=127.5,scale=1/127.5") == Preprocessing(mean=(127.5,), scale=(1 / 127.5,))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            "resize=fancy",
            "wrong preprocessing: resize; expected 'shorter', 'central', 'stretch', 'letterbox' or 'corner', found f",
        ),
        ("scale=0", "wrong preprocessing: scale; expected numbers other than 0, found 0"),
        ("scale=1/0", "wrong preprocessing: scale; expected numbers other than 0, found 1/0"),
        ("scale=1/2/0", "wrong preprocessing: scale; expected numbers other than 0, found 1/2/0"),
        ("mean=nan", "wrong preprocessing: mean; expected a finite number, found "),
        ("scale=1e-50", "wrong preprocessing: scale; expected numbers between 1e-30 and 1e30, found 1e-50"),
        ("mean=1e39", "wrong preprocessing: mean; expected numbers between 1e-30 and 1e30, found 1e39"),
        ("fraction=1e-300", "wrong preprocessing: fraction; expected greater than or equal to 0.01, found 1e-300"),
        ("sise=3", "wrong preprocessing: sise; expected resize, fraction"),
        ("resize", "key=value"),
        ("mean=1,mean=2", "preprocessing gives mean twice; found mean=1,mean=2"),
        ("fraction=0", "wrong preprocessing: fraction"),
        ("mean=a/b", "wrong preprocessing: mean; expected a valid number, found a/b"),
        ("{", "not JSON: Expecting"),
        ("fraction=2", "wrong preprocessing: fraction; expected less than or equal to 1, found 2"),
        ('{"mean": []}', r"wrong preprocessing: mean; expected at least 1 number, found \[\]"),
        ('{"mean": [1, null]}', r"wrong preprocessing: mean; expected a valid number, found \[1, None\]"),
        (
            '{"resize": ["stretch"]}',
            "wrong preprocessing: resize; expected 'shorter', 'central', 'stretch', 'letterbox' or 'corner', found ",
        ),
        ('{"mean": ' + "[" * 100_000, "not JSON: nested too deeply"),
    ],
)
def test_wrong_declarations_name_the_key(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        Preprocessing.of(text)


def test_inputs_that_no_image_fits_are_refused() -> None:
    with pytest.raises(InputError, match=r"images do not fit .* found f32\[1,7,4,4\]"):
        Preprocessing().check(*input_type(1, 7, 4, 4))
    hint = "Give one number, or one for each channel, of which alpha is the last."
    for means, channels, expected in ((2, 3, "1 or 3"), (3, 4, "1 or 4"), (3, 2, "1 or 2"), (3, 1, "1")):
        with pytest.raises(InputError, match=rf"mean does not match .* expected {expected}, found {means}\. {hint}$"):
            Preprocessing(mean=(1,) * means).check(*input_type(1, channels, 4, 4))


def test_letterbox_keeps_the_whole_image_and_fills_what_is_left() -> None:
    pixels = np.full((20, 40, 3), 200)
    plain = Preprocessing(resize="letterbox", mean=(0,), scale=(1,))
    found = plain.apply(image_of(pixels), *input_type(1, 3, 8, 8))[0, 0]
    assert (found[2:6] == 200).all()
    assert (found[[0, 1, 6, 7]] == 114).all()
    found = replace(plain, resize="corner", fill=7).apply(image_of(pixels), *input_type(1, 1, 8, 8))[0, 0]
    assert (found[:4] == 200).all()
    assert (found[4:] == 7).all()


def test_units_deviations_and_presets_are_other_words_for_mean_and_scale() -> None:
    same = "mean=123.675/116.28/103.53,scale=0.017124753831663668/0.01750700280112045/0.017429193899782137"
    torch = Preprocessing.of("units=0-1,mean=0.485/0.456/0.406,std=0.229/0.224/0.225")
    assert Preprocessing.of(same).differences(torch) == []
    assert Preprocessing.of("imagenet") == torch == Preprocessing.of({"preset": "imagenet"})
    assert Preprocessing.of("units=-1-1") == Preprocessing(mean=(127.5,), scale=(1 / 127.5,))
    assert Preprocessing.of("units=0-1") == Preprocessing(mean=(0,), scale=(1 / 255,))
    caffe = Preprocessing.of("caffe,resize=stretch,color=gray")
    assert (caffe.resize, caffe.colour, caffe.mean, caffe.scale) == (
        "stretch",
        "grey",
        (103.939, 116.779, 123.68),
        (1,),
    )
    assert Preprocessing.of("yolo").resize == "letterbox"
    assert Preprocessing.of("imagenet,mean=1,scale=2").mean == (1,)
    for text, part in (
        ("std=1,scale=1", "std; expected std or scale, found both"),
        ("units=0-2", "units; expected 0-255,"),
    ):
        with pytest.raises(UsageError, match=f"wrong preprocessing: {part}"):
            Preprocessing.of(text)
    with pytest.raises(UsageError, match="wrong preprocessing: preset; expected imagenet, tf, caffe, yolo, found x"):
        Preprocessing.of("preset=x")


def test_only_what_is_used_counts_as_another_preprocessing() -> None:
    plain = Preprocessing(resize="stretch")
    assert plain.differences(replace(plain, fraction=0.5, fill=3, mean=(127.5,) * 3)) == []
    other = replace(plain, colour="bgr", scale=(1.0,))
    assert plain.differences(other) == ["colour", "scale"]
    assert other.text(["colour", "scale"]) == "colour=bgr,scale=1"


def test_preprocessing_of_several_inputs() -> None:
    found = declared("left:imagenet;right:mean=0,scale=1/255", ("left", "right"))
    assert isinstance(found, dict)
    assert found["left"].origin == "preset imagenet"
    assert found["right"].preprocessing == Preprocessing(mean=(0,), scale=(1 / 255,))
    assert declared({"left": "imagenet", "right": {"mean": 0, "scale": 1 / 255}}) == found
    assert declared(None) == Declared(Preprocessing(), "default")
    assert declared("tf,fraction=1") == Declared(Preprocessing.of("tf,fraction=1"), "preset tf with other fraction")
    with pytest.raises(UsageError, match="an input that there is none of; expected 'left', found right"):
        declared("right:imagenet", ["left"])


def test_what_an_artifact_has_counts_unless_forced() -> None:
    inputs = {"x": input_type(1, 3, 4, 4), "y": input_type(1, 5)}
    stored = stored_inputs("tf", inputs, ["x"])
    assert [*stored] == ["x"]
    assert stored["x"].calibrated
    own = Preprocessing.of("tf")
    assert (
        chosen("x", stored, None, flag="--p")
        == chosen("x", stored, "resize=central,mean=127.50000001", flag="--p")
        == own
    )
    with pytest.raises(UsageError) as caught:
        chosen("x", stored, "imagenet", flag="--p")
    assert str(caught.value) == (
        "the network was calibrated with another preprocessing of input 'x'; expected resize=central,mean=127.5,"
        "scale=0.00784314, found resize=shorter,mean=123.675/116.28/103.53,scale=0.0171248/0.017507/0.0174292. Leave "
        "--p out, or give --force-preprocess to prepare images otherwise all the same."
    )
    assert chosen("x", stored, "imagenet", force=True, flag="--p") == Preprocessing.of("imagenet")
    assert chosen("y", stored, None, flag="--p") is None
    with pytest.raises(ArtifactError, match="what the artifact says of images for input 'x' is damaged: wrong prepro"):
        chosen("x", {"x": ImageInput("given", True, {"resize": 3})}, None, flag="--p")
    with pytest.raises(InputError, match="images do not fit this input"):
        stored_inputs("tf", {"y": input_type(1, 5)}, [])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("resize=shorter", "57% of an image kept (resize=shorter)"),
        ("resize=shorter,fraction=1", "75% of an image kept (resize=shorter)"),
        ("resize=stretch", "objects stretched by 1.33 (resize=stretch)"),
        ("resize=letterbox", "bars on 25% of it (resize=letterbox)"),
        ("resize=corner", "bars on 25% of it (resize=corner)"),
    ],
)
def test_how_images_fit_is_told_of_lying_and_of_standing_ones(words: str, expected: str) -> None:
    preprocessing = Preprocessing.of(words)
    sizes = [(640, 480), (480, 640), (640, 480)]
    assert preprocessing.fit(sizes, (1, 3, 224, 224)) == expected
    assert Preprocessing.of("resize=stretch").fit(sizes[:1], (1, 3, 240, 320)) == ""
    assert preprocessing.fit([], (1, 3, 224, 224)) == ""


def test_what_models_of_strangers_say_of_images_is_bounded_and_refused_with_advice() -> None:
    known = ImageInputs(stored_inputs("tf", {"x": input_type(1, 3, 4, 4)}, ["x"]))
    assert ImageInputs.of(known.to_text()).to_text() == known.to_text()
    advice = r"Export it again, or take it out of the metadata: tilewright\.images, in IR tilewright_images\.$"
    text = known.to_text()
    for wrong, told in (
        (
            known.to_text().replace("preset tf", "x" * 201),
            "inputs.x.origin' is too long; expected at most 200, found 201",
        ),
        (text.replace("nchw", "hwcn"), "inputs.x' is damaged"),
        ("{", "not JSON"),
    ):
        with pytest.raises(ModelError, match=rf"what the model says of images: .*{told}.*{advice}"):
            ImageInputs.of(wrong)
