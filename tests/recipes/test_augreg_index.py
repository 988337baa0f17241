"""The names of AugReg's checkpoints, and the choice among them from the authors' table."""

import csv
import math

import pytest
from augreg_grid import COLUMNS, checkpoints, fine_tunings, row, write_index

from keras_deit import InputError
from keras_deit.models import get_spec
from keras_deit.recipes.augreg_index import nearest_transfer, read_index, recommended
from keras_deit.recipes.augreg_names import (
    MODELS,
    AugRegCheckpoint,
    FineTuning,
    parse_checkpoint,
)

PRETRAINED = "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
FINE_TUNED = f"{PRETRAINED}--imagenet2012-steps_20k-lr_0.03-res_384"


def test_a_name_says_how_a_checkpoint_was_trained():
    found = parse_checkpoint(f"gs://vit_models/augreg/{PRETRAINED}.npz")
    assert found == AugRegCheckpoint("B_16", "i21k", 300, 0.001, "medium1", 0.1, 0.0, 0.0)
    assert (found.model(), found.image_size, found.classes) == (
        *("vit_base_patch16_224", 224, 21_843),
    )
    tuned = parse_checkpoint(FINE_TUNED)
    assert tuned.fine_tuning == FineTuning("imagenet2012", 20_000, 0.03, 384)
    assert (tuned.model(), tuned.classes) == ("vit_base_patch16_384", 1000)


@pytest.mark.parametrize(("text", "steps"), [("0k", 500), ("2k", 2_500), ("10k", 10_000)])
def test_steps_are_rounded_in_a_name(text, steps):
    """The name of a published file is that of its 500 steps on Pets."""
    name = (
        "R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0"
        f"--oxford_iiit_pet-steps_{text}-lr_0.003-res_384"
    )
    found = parse_checkpoint(name)
    assert found.fine_tuning.steps == steps and str(found) == name
    assert found.model() == "vit_small_r26_s32_384"


def test_every_name_of_the_grid_is_read_back():
    names = [str(checkpoint) for checkpoint in checkpoints()]
    tunings = list(fine_tunings())
    assert (len(set(names)), len(tunings)) == (9 * 3 * 28 + 3, 68)
    # Each fine-tuning once, and each checkpoint.
    names += [f"{names[index]}--{tuning}" for index, tuning in enumerate(tunings)]
    assert [str(parse_checkpoint(name)) for name in names] == names


@pytest.mark.parametrize("architecture", MODELS)
def test_every_architecture_is_a_model_here(architecture):
    name = f"{architecture}-i1k-300ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0"
    found = parse_checkpoint(name)
    assert get_spec(found.model()).image_size == 224
    at_384 = get_spec(found.model(384)).image_size
    assert at_384 == (224 if architecture == "B_8" else 384)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.npz", "'model.npz' is not the name of a checkpoint of AugReg"),
        (PRETRAINED.replace("-wd_0.1", ""), "is not the name"),
        (PRETRAINED.replace("i21k", "jft"), "is not the name"),
        (f"{PRETRAINED}--imagenet2012", "is not the name"),
        (PRETRAINED.replace("B_16", "H_14"), "architecture of AugReg 'H_14'"),
        (PRETRAINED.replace("medium1", "light2"), "level of augmentation 'light2'.*light1"),
    ],
)
def test_another_name_is_one_line(name, words):
    with pytest.raises(InputError, match=words) as caught:
        parse_checkpoint(name)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return read_index(write_index(tmp_path_factory.mktemp("index") / "index.csv"))


def test_the_index_has_every_fine_tune_of_every_checkpoint(index):
    # B with patches of 8 pixels is fine-tuned at 224 only.
    assert len(index) == 756 * 68 + 3 * 34
    assert len({one.file for one in index}) == 759
    assert len({one.fine_tuned_file for one in index}) == len(index)


def test_the_recommended_checkpoint_has_the_highest_validation_accuracy(index):
    found = recommended(index)
    assert [one.pretrained.architecture for one in found] == list(MODELS)[::-1]
    for one in found:
        if one.pretrained.architecture != "B_8":
            values = one.pretrained.augmentation, one.pretrained.weight_decay
            assert values == ("light1", 0.03) and one.pretrained.dropout_rate == 0.0
        assert one.data == "i21k" and one.fine_tuned.image_size == 224
    assert {one.data for one in recommended(index, "i21k_30")} == {"i21k_30"}


def test_of_its_fine_tunes_the_best_is_chosen(index):
    found = recommended(index, finetuned="cifar100", resolution=384)
    assert len(found) == 9 and "B_8" not in {one.pretrained.architecture for one in found}
    for one in found:
        assert one.fine_tuned.fine_tuning == FineTuning("cifar100", one.steps, 0.01, 384)
        assert one.pretrained.augmentation == "light1"
    scores = [one.fine_tuned_validation for one in found]
    assert scores == sorted(scores, reverse=True)
    # At any size, where B/8 has its own.
    assert len(recommended(index, finetuned="imagenet2012")) == 10


def test_a_budget_leaves_models_out(index):
    small = recommended(index, max_parameters=15e6)
    assert [one.pretrained.architecture for one in small] == ["S_16", "S_32", "Ti_16"]
    fast = recommended(index, min_images_per_second=1000, finetuned="kitti", resolution=224)
    assert [one.pretrained.architecture for one in fast] == ["S_16", "S_32", "Ti_16"]
    for name in ("R50_L_32", "R50+L/32", "vit_large_r50_s32", "vit_large_r50_s32_224"):
        (only,) = recommended(index, model=name)
        assert only.pretrained.architecture == "R50_L_32"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "jft"}, "no pretraining 'jft', but i1k, i21k, i21k_30"),
        ({"finetuned": "cars"}, "no data set of a fine-tuning 'cars', but cifar100, imagenet2012"),
        ({"finetuned": "kitti", "resolution": 512}, "no resolution 512, but 224, 384"),
        ({"model": "H_14"}, "architecture of AugReg 'H_14'"),
        ({"max_parameters": 1.0}, "No checkpoint is like that"),
    ],
)
def test_what_the_index_does_not_have_is_one_line(index, values, words):
    with pytest.raises(InputError, match=words):
        recommended(index, **values)


def test_what_was_not_measured_is_not_chosen(tmp_path):
    checkpoint, tunings = next(checkpoints()), list(fine_tunings())
    rows = [row(checkpoint, tuning, 0.5, 0.6) for tuning in tunings[:3]]
    rows[0]["adapt_final_val"] = rows[1]["infer_samples_per_sec"] = ""
    rows[2]["adapt_final_val"] = 0.3
    found = read_index(write_index(tmp_path / "index.csv", rows))
    assert math.isnan(found[0].fine_tuned_validation)
    (best,) = recommended(found, "i1k", finetuned="imagenet2012")
    assert best.fine_tuned_file == str(rows[1]["adapt_filename"])
    (fast,) = recommended(found, "i1k", min_images_per_second=1)
    assert fast.fine_tuned_file == str(rows[2]["adapt_filename"])


@pytest.mark.parametrize(
    ("images", "name"),
    [(1, "oxford_iiit_pet"), (6_000, "kitti"), (30_000, "resisc45"), (10**6, "imagenet2012")],
)
def test_the_nearest_data_set_by_its_number_of_images(images, name):
    assert nearest_transfer(images) == name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"final_val": "high"}, "index.csv, line 2: .*'high'"),
        ({"filename": "model"}, "line 2: 'model' is not the name"),
        ({"adapt_filename": PRETRAINED}, "line 2: adapt_filename .* is not of a fine-tune"),
        ({"adapt_ds": "kitti"}, "line 2: adapt_ds .*kitti"),
        ({"adapt_resolution": ""}, "line 2"),
    ],
)
def test_a_row_of_another_form_is_one_line(tmp_path, change, words):
    values = row(next(checkpoints()), next(fine_tunings()), 0.5, 0.6)
    path = write_index(tmp_path / "index.csv", [{**values, **change}])
    with pytest.raises(InputError, match=words):
        read_index(path)


def test_another_file_is_one_line(tmp_path):
    path = tmp_path / "index.csv"
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_index(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"not the index of AugReg's.*no column ds, final_val"):
        read_index(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot be read as CSV|not the index"):
        read_index(path)
    with path.open("w", newline="") as file:
        csv.writer(file).writerow(COLUMNS)
    with pytest.raises(InputError, match="no rows"):
        read_index(path)
    with path.open("a") as file:
        file.write("B/16,i21k\n")
    with pytest.raises(InputError, match="line 2"):
        read_index(path)
