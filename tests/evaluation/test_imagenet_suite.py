"""The suite evaluates weights on val, V2 and ReaL, beside what is published, and goes on."""

import json
import shutil

import cv2
import numpy as np
import pytest

from keras_deit import InputError, create_model, register_model
from keras_deit.cli.main import run_command
from keras_deit.data import load_imagenet_sets
from keras_deit.evaluation import Predictor, evaluate_imagenet
from keras_deit.models import DeiT
from keras_deit.models.imagenet import imagenet_synsets
from keras_deit.models.spec import Result
from keras_deit.pretrained.conversion import save_model

pytestmark = pytest.mark.usefixtures("eager")

SIZES = {"image_size": 32, "patch_size": 16, "embed_dim": 12, "depth": 1, "num_heads": 2}
CLASSES = (0, 7, 10, 999)


@pytest.fixture(scope="module", autouse=True)
def registered():
    results = (
        Result("1k", 50.0, 80.0, "a README", ("tiny_1k.safetensors",), 60.0, 40.0, "a thesis"),
        Result("21k → 1k", 90.0, None, "a README", ("tiny_21k.safetensors",)),
    )
    register_model("tiny_of_imagenet", DeiT, crop_ratio=0.8, results=results, **SIZES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three images of four classes in the layouts of ILSVRC and V2, and labels of ReaL."""
    root, draws = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    names = {"val": [imagenet_synsets()[index] for index in CLASSES], "v2": map(str, CLASSES)}
    number = 0
    for split, classes in names.items():
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for _ in range(3):
                number += 1
                pixels = draws.integers(0, 255, (40, 50, 3), dtype=np.uint8)
                path = root / split / name / f"ILSVRC2012_val_{number:08}.JPEG"
                cv2.imwrite(str(path), pixels)
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of different weights, one with a name that weights were released with."""
    root = tmp_path_factory.mktemp("weights")
    paths = [root / "tiny_21k.safetensors", root / "mine.keras"]
    for path in paths:
        save_model(create_model("tiny_of_imagenet"), path)
    return [str(path) for path in paths]


def answered(file, folder):
    """Returns the answers of a predictor for the images of each class, as indices."""
    name = "tiny_of_imagenet" if file.endswith(".safetensors") else None
    predictor = Predictor(file, name, class_names=list(map(str, range(1000))))
    return [int(p.label) for sub in folder for p in predictor.predict(sub, 1)]


def sets(folders, labels=None):
    real = None
    if labels is not None:
        real = folders / "real.json"
        real.write_text(json.dumps(labels))
    return load_imagenet_sets(folders / "val", folders / "v2", real)


def test_rows_hold_what_is_measured_and_published(folders, files, tmp_path):
    by_class = [folders / "val" / imagenet_synsets()[index] for index in CLASSES]
    found = answered(files[0], by_class)
    # The first image has no label, the second the answer among two, the others another one.
    real = [[], [found[1], (found[1] + 1) % 1000], *([(each + 1) % 1000] for each in found[2:])]
    # Of all 12 images, which are the first of 24.
    output = tmp_path / "page.json"
    document = evaluate_imagenet(output, sets(folders, real), weights=files, models=())
    assert json.loads(output.read_text()) == json.loads(json.dumps(document))
    first, second = document["rows"]
    labels = np.repeat(CLASSES, 3)
    assert first["val"]["top1"] == np.mean(labels == found)
    v2 = answered(files[0], [folders / "v2" / str(index) for index in CLASSES])
    assert first["v2"]["top1"] == np.mean(labels == v2)
    assert first["real"]["images"] == 11 and first["real"]["top1"] == pytest.approx(1 / 11)
    assert first["view"] == {"image_size": (32, 32), "crop_ratio": 0.8, "interpolation": "bicubic"}
    assert first["published"]["training"] == "21k → 1k" and not first["published"]["is_assumed"]
    assert first["difference"]["val"] == {"top1": pytest.approx(first["val"]["top1"] - 0.9)}
    # Another name: the figures of the first training stand beside it.
    assert second["published"]["is_assumed"] and second["published"]["training"] == "1k"
    assert second["published"]["real"] == {"top1": 0.6} and second["published"]["v2"]["top1"] == 0.4
    page = (tmp_path / "page.md").read_text()
    assert page.count("\n| `tiny_of_imagenet` |") == 2 and "≠" in page
    assert "1k (assumed)" in page and "should have 50,000" in page and "a thesis" in page


def test_a_stopped_command_goes_on(folders, files, tmp_path, monkeypatch):
    from keras_deit.evaluation import imagenet

    loaded, original, passes = [], imagenet.load_classifier, []
    original_answer = imagenet.answer

    def load(source, name):
        loaded.append(source)
        return original(source, name)

    def stop(*arguments):
        passes.append(arguments[-1])
        if len(passes) == 2:
            raise KeyboardInterrupt
        return original_answer(*arguments)

    monkeypatch.setattr(imagenet, "load_classifier", load)
    monkeypatch.setattr(imagenet, "answer", stop)
    output, data = tmp_path / "page.json", sets(folders)
    with pytest.raises(KeyboardInterrupt):
        evaluate_imagenet(output, data, weights=files)
    lines = []
    document = evaluate_imagenet(output, data, weights=files, print_fn=lines.append)
    # The first pass is not done again.
    titles = [title.split()[-1] for title in passes]
    assert titles == ["val", "v2", "v2", "val", "v2"]
    assert all({"val", "v2"} <= row.keys() for row in document["rows"])
    # A copy of weights is known by its contents, and what is new is added.
    loaded.clear()
    copied = tmp_path / "copied.keras"
    shutil.copy(files[1], copied)
    lines.clear()
    again = evaluate_imagenet(output, data, weights=[str(copied)], print_fn=lines.append)
    assert again["rows"] == json.loads(json.dumps(document["rows"])) and not loaded
    assert lines == [f"{copied}: evaluated before."]


def test_the_classes_are_in_the_order_of_their_indices(folders):
    found = sets(folders)
    assert found["v2"].source.labels.tolist() == np.repeat(CLASSES, 3).tolist()
    assert found["val"].source.labels.tolist() == np.repeat(CLASSES, 3).tolist()


def test_what_cannot_be_evaluated_is_one_line(folders, files, tmp_path):
    with pytest.raises(InputError, match="folder of ImageNet's validation images"):
        load_imagenet_sets()
    (tmp_path / "val" / "cats").mkdir(parents=True)
    with pytest.raises(InputError, match=r"WordNet id.*Received: cats"):
        load_imagenet_sets(tmp_path / "val")
    with pytest.raises(InputError, match="no labels for ILSVRC2012_val_00000002"):
        sets(folders, [[1]])
    with pytest.raises(InputError, match="class indices"):
        sets(folders, [[1000]])
    with pytest.raises(InputError, match="are missing"):
        (folders / "real.json").write_text("[]")
        load_imagenet_sets(v2=folders / "v2", real=folders / "real.json")
    data, output = sets(folders), tmp_path / "page.json"
    with pytest.raises(InputError, match="Give models, weights or both"):
        evaluate_imagenet(output, data)
    with pytest.raises(InputError, match="no weights file"):
        evaluate_imagenet(output, data, weights=[files[0], str(tmp_path / "gone.keras")])
    output.write_text(
        json.dumps({"suite": "imagenet", "data": {"val": {"digest": "x"}}, "rows": []})
    )
    with pytest.raises(InputError, match="other images of val"):
        evaluate_imagenet(output, data, weights=files)
    output.write_text("{}")
    with pytest.raises(InputError, match="not of the suite"):
        evaluate_imagenet(output, data, weights=files)
    small = tmp_path / "small.keras"
    save_model(create_model("tiny_of_imagenet", num_classes=3), small)
    with pytest.raises(InputError, match="has 3 classes"):
        evaluate_imagenet(tmp_path / "other.json", data, weights=[str(small)])


def test_the_command_writes_the_page(folders, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = f"--imagenet_val={folders / 'val'}"
    run_command(["evaluate", "--suite=imagenet", "--weights", *files, folder])
    assert len(json.loads((tmp_path / "imagenet.json").read_text())["rows"]) == 2
    assert "# ImageNet" in (tmp_path / "imagenet.md").read_text()
    for flags, words in {
        ("--suite=imagenet", folder): "models, weights or both",
        ("--suite=imagenet", folder, "--split=test"): "--split is not for --suite",
        ("--suite=imagenet", folder, "--output=page.md"): r"should end in \.json",
        (folder, f"--weights={files[1]}"): "--imagenet_val needs --suite",
        ("--weights", *files, "--dataset=digits"): "Several values of --weights",
    }.items():
        with pytest.raises(InputError, match=words):
            run_command(["evaluate", *flags])
