"""Weights that are of no run are evaluated on any data whose classes the model has."""

import shutil

import cv2
import numpy as np
import pytest

from keras_deit import InputError, create_model, register_model
from keras_deit.evaluation import Predictor, evaluate_weights, imagenet_class_names
from keras_deit.evaluation.class_names import model_classes
from keras_deit.models import DeiT
from keras_deit.models.imagenet import imagenet_synsets
from keras_deit.pretrained.conversion import save_model

pytestmark = pytest.mark.usefixtures("eager")

SIZES = {"image_size": 32, "patch_size": 16, "embed_dim": 12, "depth": 1, "num_heads": 2}


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_model("tiny_of_imagenet", DeiT, crop_ratio=0.8, **SIZES)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photographs of two classes of ImageNet, by their WordNet ids, in another order."""
    draws, root = np.random.default_rng(0), tmp_path_factory.mktemp("photos")
    for split in ("train", "val", "test"):
        for synset in ("n01443537", "n15075141"):
            folder = root / split / synset
            folder.mkdir(parents=True)
            for index in range(5):
                pixels = draws.integers(0, 255, (40 + index, 50, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f"{index}.png"), pixels)
    return root


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("suffix", [".keras", ".safetensors"])
def test_a_file_is_evaluated_as_the_predictor_sees_it(photos, suffix, tmp_path):
    path = tmp_path / f"mine{suffix}"
    save_model(create_model("tiny_of_imagenet"), path)
    name = "tiny_of_imagenet" if suffix == ".safetensors" else None
    found = evaluate_weights(f"folder:{photos}", name, str(path), batch_size=4)
    assert (found["split"], found["examples"]) == ("test", 10)
    predictor = Predictor(path, name)
    wanted = [imagenet_class_names()[index] for index in (1, 999)]
    hits = [
        predictor.predict(photos / "test" / synset, top_k)
        for synset, top_k in (("n01443537", 5), ("n15075141", 5))
    ]
    names = [{*each.labels} for group in hits for each in group]
    top5 = np.mean([wanted[index // 5] in labels for index, labels in enumerate(names)])
    figures = found["figures"]["fused"]
    assert figures["top5"] == pytest.approx(top5)
    # Of 1,000 classes two have images.
    confusion = np.array(found["confusion"]["class"])
    assert confusion.shape == (1000, 1000)
    assert np.flatnonzero(confusion.sum(1)).tolist() == [1, 999]
    answered = {wanted[0]: 0, wanted[1]: 0}
    for group, truth in zip(hits, wanted, strict=True):
        answered[truth] += sum(each.label == truth for each in group)
    assert figures["top1"] == sum(answered.values()) / 10


def test_a_folder_without_splits_is_a_test_set(photos, tmp_path):
    """Of a few images, of some classes; without a validation split there is no temperature."""
    shutil.copytree(photos / "val" / "n01443537", tmp_path / "new" / "goldfish")
    lines = []
    name = f"folder:{tmp_path / 'new'}"
    path = tmp_path / "mine.safetensors"
    save_model(create_model("tiny_of_imagenet"), path)
    found = evaluate_weights(name, "tiny_of_imagenet", str(path), print_fn=lines.append)
    assert (found["split"], found["examples"]) == ("test", 5)
    assert np.flatnonzero(np.sum(found["confusion"]["fused"], axis=1)).tolist() == [1]
    assert "temperature" not in found["figures"]["fused"]
    assert any("test: the whole folder" in line for line in lines)
    assert any("999 of 1000 classes" in line for line in lines)
    assert any("No temperatures" in line for line in lines)


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        (["n01443537", "n01440764"], [1, 0]),
        (["goldfish", "Great_white_shark"], [1, 2]),
        (["999", "7"], [999, 7]),
        (["tench, Tinca tinca"], [0]),
        (imagenet_synsets(), list(range(1000))),
    ],
    ids=["synsets", "words", "indices", "names", "all"],
)
def test_classes_of_imagenet_have_several_names(names, indices):
    found, classes, note = model_classes(names, None, 1000, "data")
    assert found == indices and classes == imagenet_class_names() and not note


def test_other_classes_are_matched_by_name_or_by_order():
    assert model_classes(["b", "a"], ["a", "b", "c"], 3, "data")[0] == [1, 0]
    found, classes, note = model_classes(["b", "a"], None, 2, "data")
    assert (found, classes) == ([0, 1], ("b", "a")) and "no names" in note
    with pytest.raises(InputError, match=r"does not have 1.*: d"):
        model_classes(["a", "d"], ["a", "b", "c"], 3, "data")
    with pytest.raises(InputError, match="2 classes and the model 3"):
        model_classes(["a", "d"], None, 3, "data")
    with pytest.raises(InputError, match="Several classes of data are the model's 'goldfish"):
        model_classes(["n01443537", "goldfish"], None, 1000, "data")
    # "crane" is a bird and a machine.
    with pytest.raises(InputError, match="crane"):
        model_classes(["crane"], None, 1000, "data")


def test_what_cannot_be_evaluated_is_one_line(photos):
    with pytest.raises(InputError, match="a model, weights or both"):
        evaluate_weights(f"folder:{photos}")
    with pytest.raises(InputError, match="split"):
        evaluate_weights(f"folder:{photos}", "tiny_of_imagenet", split="train")
