"""Predictions for images without labels, in Python and by the command."""

import csv
import os
import pathlib

import cv2
import keras
import numpy as np
import pytest
from jobs import train_without_page
from PIL import Image
from run_files import quiet

from keras_deit import InputError, Predictor, create_model, evaluate_run
from keras_deit.cli.main import run_command
from keras_deit.evaluation import imagenet_class_names
from keras_deit.models import DeiT

MODEL = {"image_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
# The evaluation view of the recipe auto.
VIEW = {"crop_ratio": 1.0, "interpolation": "bilinear"}
COLORS = {"blue": (40, 60, 200), "green": (60, 180, 60), "red": (200, 50, 40)}


def write(path, color, rng, size=(24, 20)):
    pixels = np.clip(rng.normal(color, 40, size=(*size, 3)), 0, 255).astype("uint8")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # Turned by a quarter.
    image.save(path, **({"exif": exif} if path.suffix == ".jpg" else {}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """JPEG files with an orientation, PNG files, gray ones, of several sizes."""
    root = tmp_path_factory.mktemp("colors")
    rng = np.random.default_rng(0)
    for split, count in {"train": 12, "val": 4, "test": 9}.items():
        for name, color in COLORS.items():
            for index in range(count):
                suffix = ".jpg" if index % 2 else ".png"
                size = (24, 20) if index % 3 else (17, 40)
                write(root / split / name / f"{index}{suffix}", color, rng, size)
            gray = np.full((20, 20), color[0], "uint8")
            Image.fromarray(gray, "L").save(root / split / name / "gray.png")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    train_without_page(
        quiet,
        dataset=f"folder:{folder}",
        run_dir=path,
        model="deit_tiny_patch16_224",
        steps=6,
        batch_size=8,
        stem="linear",
        **MODEL,
    )
    return path


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.nightly("jax")
def test_top1_over_a_folder_is_that_of_the_evaluation(run, folder):
    predictions = Predictor(run, batch_size=7).predict(folder / "test", top_k=2)
    assert len(predictions) == 30
    right = [each.label == each.name.split("/")[-2] for each in predictions]
    assert np.mean(right) == pytest.approx(evaluate_run(run)["scores"]["fused"]["top1"], abs=1e-6)
    for each in predictions:
        assert len(each.labels) == 2 and each.probability >= each.probabilities[1]


def test_a_turned_photograph_is_predicted_as_the_upright_one(run, folder):
    path = folder / "test/red/1.jpg"
    assert Image.open(path).getexif()[0x0112] == 6
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    upright = np.rot90(cv2.imread(str(path), flags), -1)
    predictor = Predictor(run)
    kinds = [path, path.read_bytes(), Image.open(path), np.ascontiguousarray(upright)]
    first, *others = predictor.predict(kinds)
    assert all(each.probabilities == first.probabilities for each in others)
    as_stored = np.ascontiguousarray(np.rot90(upright))
    assert predictor.predict(as_stored)[0].probabilities != first.probabilities


def test_every_kind_of_image_gives_the_same_prediction(run, folder):
    predictor = Predictor(run)
    path = folder / "test/red/0.png"
    pixels = cv2.imread(str(path))[..., ::-1]
    kinds = [path, str(path), path.read_bytes(), Image.open(path), pixels]
    found = predictor.predict(kinds, top_k=3)
    assert [each.name for each in found] == [str(path), str(path), "2", "3", "4"]
    for each in found:
        assert each.labels == found[0].labels and sum(each.probabilities) == pytest.approx(1)
        np.testing.assert_allclose(each.probabilities, found[0].probabilities, atol=1e-6)
    for single in kinds:
        assert predictor.predict(single)[0].labels == found[0].labels
    batch = np.stack([pixels, pixels])
    assert [each.name for each in predictor.predict(batch)] == ["0", "1"]
    gray = folder / "test/red/gray.png"
    of_array = predictor.predict(np.asarray(Image.open(gray)))[0]
    assert of_array.probabilities == pytest.approx(predictor.predict(gray)[0].probabilities)


def test_embeddings_are_the_input_of_the_class_head(run, folder):
    predictor = Predictor(run, batch_size=4)
    files = sorted((folder / "test/blue").iterdir())
    embeddings = predictor.embed(files)
    assert embeddings.shape == (10, 24)
    images = np.stack([predictor.inputs(path) for path in files])
    expected = predictor.model.forward_features(images).embedding
    np.testing.assert_allclose(embeddings, keras.ops.convert_to_numpy(expected), atol=1e-5)
    bare = Predictor(predictor.model.reset_classifier(0), **VIEW)
    np.testing.assert_allclose(bare.embed(files), embeddings, atol=1e-5)
    with pytest.raises(InputError, match="no heads; use embed"):
        bare.predict(files)


def test_sources_other_than_runs(run, folder, tmp_path):
    model = Predictor(run).model
    model.save(tmp_path / "a.keras")
    image = folder / "test/green/1.jpg"
    names = ("b", "g", "r")
    expected = Predictor(run).predict(image)[0].probabilities
    for source in (model, tmp_path / "a.keras", run / "final.weights.h5"):
        found = Predictor(source, class_names=names, **VIEW).predict(image)[0]
        assert set(found.labels) == set(names)
        assert found.probabilities == pytest.approx(expected, abs=1e-6)
        other = Predictor(source, crop_ratio=0.5, interpolation="bicubic").predict(image)[0]
        assert other.probabilities != pytest.approx(expected, abs=1e-6)
    assert Predictor(model).predict(image)[0].labels[0] in "012"
    with pytest.raises(InputError, match=r"3 classes\. Received: 2 names"):
        Predictor(model, class_names=names[:2])
    with pytest.raises(InputError, match="no released weights"):
        Predictor("cait_m24_224")
    with pytest.raises(InputError, match="crop ratio"):
        Predictor(model, crop_ratio=1.5)


def test_imagenet_has_a_thousand_names():
    names = imagenet_class_names()
    assert len(set(names)) == 1000
    assert names[0].startswith("tench") and names[207].startswith("golden retriever")
    model = DeiT(**MODEL)
    image = np.zeros((20, 20, 3), "uint8")
    assert Predictor(model).predict(image)[0].label in names


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("nowhere.jpg", "Cannot read image nowhere.jpg"),
        (b"no image", "Cannot decode"),
        (np.zeros((4, 4, 3), "float32"), "float32"),
        (np.zeros((4, 0, 3), "uint8"), "uint8 .4, 0, 3"),
        (3, "Received: int"),
    ],
)
def test_what_is_no_image_is_refused(run, image, message):
    with pytest.raises(InputError, match=message):
        Predictor(run).predict([image])


def test_the_command_prints_labels_and_writes_them(run, folder, tmp_path, capsys):
    output = tmp_path / "labels.csv"
    source = str(folder / "test/red")
    flags = (f"--run_dir={run}", "--top_k=2", f"--csv={output}")
    run_command(["predict", *flags, source])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 10 and all(line.startswith(source) for line in printed)
    rows = list(csv.DictReader(output.open()))
    expected = Predictor(run).predict(source, top_k=2)
    assert [row["image"] for row in rows] == [each.name for each in expected]
    assert [row["label_1"] for row in rows] == [each.label for each in expected]
    with pytest.raises(InputError, match="exists already"):
        run_command(["predict", *flags, source])


def test_the_command_goes_on_after_a_bad_image_and_fails_at_the_end(run, folder, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    good = str(folder / "test/red/0.png")
    with pytest.raises(InputError, match="1 of the images could not be read"):
        run_command(["predict", f"--run_dir={run}", str(bad), good])
    captured = capsys.readouterr()
    assert captured.out.startswith(good) and "bad.jpg" in captured.err


def test_names_that_are_not_utf_8_are_shown_and_written(run, folder, tmp_path, capsys):
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    pathlib.Path(os.fsdecode(name)).write_bytes((folder / "test/red/0.png").read_bytes())
    output = tmp_path / "labels.csv"
    run_command(["predict", f"--run_dir={run}", f"--csv={output}", os.fsdecode(name)])
    shown = f"{tmp_path}/café.png"
    assert capsys.readouterr().out.encode().decode().startswith(f"{shown}  ")
    (row,) = csv.DictReader(output.open(encoding="utf-8"))
    assert row["image"] == shown
    (prediction,) = Predictor(run).predict(os.fsdecode(name))
    assert os.fsencode(prediction.name) == name
    run_command(["attention", f"--run_dir={run}", f"--output_dir={tmp_path}", os.fsdecode(name)])
    assert capsys.readouterr().out.encode().decode().startswith(f"{tmp_path}/café_attention.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "--run_dir=x"], "Give images"),
        (["predict", "a.jpg"], "Give --run_dir, --model or --weights"),
        (["predict", "--run_dir=x", "--model=y", "a.jpg"], "not both"),
        (["evaluate", "--run_dir=x", "a.jpg"], "Unknown argument 'a.jpg'"),
        (["attention", "--run_dir=x", "--output_dir=/nowhere", "a.jpg"], "no folder /nowhere"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        run_command(arguments)


def test_attention_writes_a_picture_beside_the_image(run, folder, tmp_path, capsys):
    path = folder / "test/red/0.png"
    arguments = ["attention", f"--run_dir={run}", f"--output_dir={tmp_path}", str(path)]
    run_command(arguments)
    picture = cv2.imread(str(tmp_path / "0_attention.png"))[..., ::-1]
    assert picture.shape == (384, 768, 3)
    view = Predictor(run).view(path, 24)
    np.testing.assert_array_equal(picture[:, :384], view)
    assert Predictor(run).predict(path)[0].label in capsys.readouterr().out
    with pytest.raises(InputError, match="exists already"):
        run_command(arguments)
    with pytest.raises(InputError, match="blocks 0, 1"):
        run_command([*arguments, "--kind=class", "--layer=7", f"--output_dir={tmp_path.parent}"])


def test_a_model_for_gray_images_is_refused():
    model = create_model("deit_tiny_patch16_224", num_classes=3, in_channels=1, **MODEL)
    with pytest.raises(InputError, match="does not take color images"):
        Predictor(model).predict(np.zeros((20, 20, 3), "uint8"))
