"""What an exported SavedModel answers, in a process without Keras, against the Keras model."""

import pathlib
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest

from keras_deit.data.transforms import center_crop_resize, normalize
from keras_deit.serving import export_run

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export runs on the TensorFlow backend"
)

RUNS = {
    "distilled": {"distilled": True, "crop_ratio": 1.0, "interpolation": "bilinear"},
    "cropped": {"distilled": False, "crop_ratio": 0.875, "interpolation": "bicubic"},
}
SIDE = 16  # of the model


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


def images_of_whole_levels(side: int) -> list[np.ndarray]:
    """Images that the view of a shorter side of `side` pixels takes without a fraction of a level.

    OpenCV's rounding loses nothing of them: the first two are only cropped, and the blocks of
    the third, which it averages, are of one level.
    """
    return [
        noise(side, side + 9, 3),
        noise(side + 4, side, 3),
        noise(side, side + 7, 3).repeat(3, 0).repeat(3, 1),
    ]


def pixels(image: np.ndarray) -> np.ndarray:
    return image / np.float32(255)


class Served:
    """A run, and what its export answers without Keras."""

    def __init__(self, run, folder: pathlib.Path):
        self.model = run.load_student()
        self.config = run.read_config()
        self.version = export_run(run.path, folder / "served", print_fn=lambda line: None)
        self.side = int(SIDE / self.config["crop_ratio"])
        self.png_images = images_of_whole_levels(self.side)
        png_files = [encode(".png", image) for image in self.png_images]
        shape = (3, self.side, self.side, 3)
        inputs = {
            "serving_default.three": np.random.default_rng(1).random(shape, np.float32),
            "serving_default.one": np.random.default_rng(2).random((1, 37, 22, 3), np.float32),
            "serve_bytes.png": np.array(png_files, object),
            "serve_bytes.jpeg": np.array(JPEG_FILES, object),
            "serve_bytes.both": np.array([JPEG_FILES[0], png_files[0]], object),
        }
        for index, image in enumerate(self.png_images):
            inputs[f"serving_default.png{index}"] = pixels(image)[None]
        for index, file in enumerate(JPEG_FILES):
            inputs[f"serving_default.jpeg{index}"] = pixels(decode(file))[None]
        np.savez(folder / "inputs.npz", **inputs)
        script = pathlib.Path(__file__).with_name("without_keras.py")
        arguments = [self.version, folder / "inputs.npz", folder / "outputs.npz"]
        subprocess.run([sys.executable, script, *arguments], check=True, cwd=folder)
        self.inputs, self.answers = inputs, dict(np.load(folder / "outputs.npz", allow_pickle=True))

    def logits(self, image: np.ndarray) -> np.ndarray:
        """The Keras model's on the data pipeline's evaluation view of a uint8 image."""
        view = (self.config["crop_ratio"], self.config["interpolation"])
        inputs = normalize(center_crop_resize(image, SIDE, SIDE, *view), self.model.image_format)
        return np.asarray(self.model(inputs[None]))


@pytest.fixture(scope="module", params=RUNS)
def served(request, make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return Served(make_run(folder / "run", **RUNS[request.param]), folder)


def test_logits_of_pixels_are_the_keras_models(served):
    border = (served.side - SIDE) // 2
    images = served.inputs["serving_default.three"][:, border:, border:][:, :SIDE, :SIDE]
    image_format = served.model.image_format
    inputs = (images - np.float32(image_format.mean)) / np.float32(image_format.std)
    expected = np.asarray(served.model(inputs))
    assert expected.std() > 0.5
    answer = served.answers["serving_default.three.logits"]
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


def test_logits_of_one_image_are_the_keras_models(served):
    answers = [served.answers[f"serving_default.png{index}.logits"] for index in range(3)]
    expected = [served.logits(image) for image in served.png_images]
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-5)


def test_logits_of_png_files_are_those_of_the_evaluation(served):
    expected = np.concatenate([served.logits(image) for image in served.png_images])
    answer = served.answers["serve_bytes.png.logits"]
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_files_of_different_sizes_are_served_as_their_pixels(served, kind):
    for name in ("logits", "probabilities", "top_probabilities", "top_labels"):
        files = served.answers[f"serve_bytes.{kind}.{name}"]
        one_by_one = [served.answers[f"serving_default.{kind}{i}.{name}"] for i in range(3)]
        if name == "top_labels":
            np.testing.assert_array_equal(files, np.concatenate(one_by_one))
        else:
            np.testing.assert_allclose(files, np.concatenate(one_by_one), rtol=0, atol=1e-5)


def test_jpeg_and_png_may_share_a_batch(served):
    answer = served.answers["serve_bytes.both.logits"]
    expected = [served.answers[f"serve_bytes.{kind}.logits"][0] for kind in ("jpeg", "png")]
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "case", ["serving_default.three", "serving_default.one", "serve_bytes.png"]
)
def test_probabilities_and_labels_follow_from_the_logits(served, case):
    answer = {n: served.answers[f"{case}.{n}"] for n in ("logits", "probabilities", "top_labels")}
    exponentials = np.exp(answer["logits"].astype(np.float64))
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    assert answer["logits"].shape == (1 if case.endswith("one") else 3, 3)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    order = np.argsort(-answer["logits"])
    top = served.answers[f"{case}.top_probabilities"]
    np.testing.assert_allclose(top, np.take_along_axis(expected, order, -1), atol=1e-6)
    labels = [[label.decode() for label in row] for row in answer["top_labels"]]
    assert labels == np.array(served.config["class_names"])[order].tolist()
