"""The outputs of an exported SavedModel in a process without Keras, and of the Keras model."""

import pathlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from image_kinds import BROKEN
from processes import end, start

from keras_deit.data.transforms import center_crop_resize, normalize
from keras_deit.serving import export_run

pytestmark = pytest.mark.slow

RUNS = {
    "distilled": {"distilled": True, "crop_ratio": 1.0, "interpolation": "bilinear"},
    "cropped": {"distilled": False, "crop_ratio": 0.875, "interpolation": "bicubic"},
}
SIDE = 16  # side of the model's images in pixels


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


JPEG_IMAGES = [
    cv2.resize(noise(5, 7, 3), size, interpolation=cv2.INTER_CUBIC)
    for size in ((90, 61), (30, 47), (12, 12))
]


def encode(extension: str, image: np.ndarray) -> bytes:
    return cv2.imencode(extension, image[..., ::-1])[1].tobytes()


def decode(file: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


JPEG_FILES = [encode(".jpg", image) for image in JPEG_IMAGES]


def images_without_rounding(side: int) -> list[np.ndarray]:
    """Returns images that OpenCV's rounding does not change in the evaluation view.

    The shorter side of the view before its crop has `side` pixels. The first two images are only
    cropped; the blocks of the third one, which are averaged, have one color each.
    """
    return [
        noise(side, side + 9, 3),
        noise(side + 4, side, 3),
        noise(side, side + 7, 3).repeat(3, 0).repeat(3, 1),
    ]


def pixels(image: np.ndarray) -> np.ndarray:
    return image / np.float32(255)


class Served:
    """A run, and the outputs of its export in a process without Keras."""

    def __init__(self, run, folder: pathlib.Path):
        self.model = run.model(dtype="float32")
        self.config = run.config
        self.version = export_run(run.path, folder / "served", print_fn=lambda line: None)
        self.side = int(SIDE / self.config["crop_ratio"])
        self.png_images = images_without_rounding(self.side)
        png_files = [encode(".png", image) for image in self.png_images]
        shape = (3, self.side, self.side, 3)
        inputs = {
            "serving_default.three": np.random.default_rng(1).random(shape, np.float32),
            "serving_default.one": np.random.default_rng(2).random((1, 37, 22, 3), np.float32),
            "serve_bytes.png": np.array(png_files, object),
            "serve_bytes.jpeg": np.array(JPEG_FILES, object),
            "serve_bytes.both": np.array([JPEG_FILES[0], png_files[0]], object),
            "serve_bytes.broken": np.array([png_files[0], *BROKEN.values(), png_files[1]], object),
            "serving_default.none": np.zeros((0, 20, 30, 3), np.float32),
            "serve_bytes.none": np.array([], object),
        }
        for index, image in enumerate(self.png_images):
            inputs[f"serving_default.png{index}"] = pixels(image)[None]
        for index, file in enumerate(JPEG_FILES):
            inputs[f"serving_default.jpeg{index}"] = pixels(decode(file))[None]
        np.savez(folder / "inputs.npz", **inputs)
        script = pathlib.Path(__file__).with_name("without_keras.py")
        arguments = [self.version, folder / "inputs.npz", folder / "outputs.npz"]
        end(start(script, *arguments, backend="tensorflow"))
        self.inputs, self.outputs = inputs, dict(np.load(folder / "outputs.npz", allow_pickle=True))

    def logits(self, image: np.ndarray) -> np.ndarray:
        """Returns the logits of the Keras model for the evaluation view of the data pipeline."""
        view = (self.config["crop_ratio"], self.config["interpolation"])
        inputs = normalize(center_crop_resize(image, SIDE, SIDE, *view), self.model.image_format)
        return np.asarray(self.model(inputs[None]))


@pytest.fixture(scope="module", params=RUNS)
def served(request, make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return Served(make_run(folder / "run", **RUNS[request.param]), folder)


def test_logits_of_pixels_are_those_of_the_keras_model(served):
    border = (served.side - SIDE) // 2
    images = served.inputs["serving_default.three"][:, border:, border:][:, :SIDE, :SIDE]
    image_format = served.model.image_format
    inputs = (images - np.float32(image_format.mean)) / np.float32(image_format.std)
    expected = np.asarray(served.model(inputs))
    assert expected.std() > 0.5
    output = served.outputs["serving_default.three.logits"]
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)


def test_every_weight_is_stored_once(served):
    stored = tf.train.load_checkpoint(str(served.version / "variables" / "variables"))
    shapes = stored.get_variable_to_shape_map()
    weights = {name: shape for name, shape in shapes.items() if name.endswith("VARIABLE_VALUE")}
    assert sum(int(np.prod(shape)) for shape in weights.values()) == served.model.count_params()


def test_logits_of_one_image_are_those_of_the_keras_model(served):
    outputs = [served.outputs[f"serving_default.png{index}.logits"] for index in range(3)]
    expected = [served.logits(image) for image in served.png_images]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


def test_logits_of_png_files_are_those_of_the_evaluation(served):
    expected = np.concatenate([served.logits(image) for image in served.png_images])
    output = served.outputs["serve_bytes.png.logits"]
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_files_of_different_sizes_have_the_outputs_of_their_pixels(served, kind):
    for name in ("logits", "probabilities", "top_probabilities", "top_labels"):
        files = served.outputs[f"serve_bytes.{kind}.{name}"]
        one_by_one = [served.outputs[f"serving_default.{kind}{i}.{name}"] for i in range(3)]
        if name == "top_labels":
            np.testing.assert_array_equal(files, np.concatenate(one_by_one))
        else:
            np.testing.assert_allclose(files, np.concatenate(one_by_one), rtol=0, atol=1e-5)


def test_a_batch_can_have_jpeg_and_png_files(served):
    output = served.outputs["serve_bytes.both.logits"]
    expected = [served.outputs[f"serve_bytes.{kind}.logits"][0] for kind in ("jpeg", "png")]
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "case", ["serving_default.three", "serving_default.one", "serve_bytes.png"]
)
def test_probabilities_and_labels_follow_from_the_logits(served, case):
    output = {n: served.outputs[f"{case}.{n}"] for n in ("logits", "probabilities", "top_labels")}
    exponentials = np.exp(output["logits"].astype(np.float64))
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    assert output["logits"].shape == (1 if case.endswith("one") else 3, 3)
    np.testing.assert_allclose(output["probabilities"], expected, atol=1e-6)
    order = np.argsort(-output["logits"])
    top = served.outputs[f"{case}.top_probabilities"]
    np.testing.assert_allclose(top, np.take_along_axis(expected, order, -1), atol=1e-6)
    labels = [[label.decode() for label in row] for row in output["top_labels"]]
    assert labels == np.array(served.config["class_names"])[order].tolist()


def test_broken_files_are_invalid_and_do_not_disturb_others(served):
    answers = {
        name: served.outputs[f"serve_bytes.broken.{name}"]
        for name in ("logits", "probabilities", "top_probabilities", "top_labels", "valid")
    }
    assert answers["valid"].tolist() == [True, *[False] * len(BROKEN), True]
    assert served.outputs["serve_bytes.png.valid"].all()
    for name in ("logits", "probabilities", "top_probabilities"):
        expected = served.outputs[f"serve_bytes.png.{name}"][:2]
        np.testing.assert_allclose(answers[name][[0, -1]], expected, rtol=0, atol=1e-6)
        assert not answers[name][1:-1].any()
    assert set(answers["top_labels"][1:-1].flat) == {b""}


@pytest.mark.parametrize("signature", ["serving_default", "serve_bytes"])
def test_an_empty_batch_has_an_empty_answer(served, signature):
    shapes = {"logits": (0, 3), "probabilities": (0, 3)}
    shapes |= {"top_labels": (0, 3), "top_probabilities": (0, 3)}
    shapes |= {"valid": (0,)} if signature == "serve_bytes" else {}
    found = {name: served.outputs[f"{signature}.none.{name}"].shape for name in shapes}
    assert found == shapes
