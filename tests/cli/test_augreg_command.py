"""The command `augreg` says which checkpoint fits and how it was trained."""

import pytest
from augreg_grid import accuracies, checkpoints, fine_tunings, row, write_index
from commands import call

from keras_deit.cli.flags import parse_flags
from keras_deit.core.errors import InputError
from keras_deit.models import get_spec
from keras_deit.recipes import apply_options, get_recipe
from keras_deit.recipes.augreg_names import parse_checkpoint
from keras_deit.training import training_options

NAME = "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
LARGE = "B_32-i1k-300ep-lr_0.001-aug_medium2-wd_0.1-do_0.1-sd_0.1"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The rows of three models, pretrained on ImageNet-21k."""
    rows = [
        row(checkpoint, tuning, *accuracies(checkpoint, tuning))
        for checkpoint in checkpoints()
        if checkpoint.architecture in ("S_32", "S_16", "B_8") and checkpoint.data == "i21k"
        for tuning in fine_tunings()
        if checkpoint.architecture != "B_8" or tuning.image_size == 224
    ]
    return str(write_index(tmp_path_factory.mktemp("index") / "index.csv", rows))


def commands(text):
    return [line.split()[2:] for line in text.splitlines() if "keras-deit train" in line]


def recipe_of(flags):
    """Returns the recipe of a printed command, with its flags applied."""
    given = parse_flags(training_options(), flags)
    model = get_spec(given["model"]).name
    return apply_options(get_recipe(given["recipe"]).for_model(model), given), given


def test_the_recommended_checkpoints_with_the_recipe_of_each(index):
    text = call("augreg", index).stdout
    assert [line for line in text.splitlines() if "pixels:" in line] == [
        "vit_base_patch8_224, 224 pixels: 30.0 M parameters, 500 images/s",
        "vit_small_patch16_224, 224 pixels: 15.0 M parameters, 1,000 images/s",
        "vit_small_patch32_224, 224 pixels: 10.0 M parameters, 1,500 images/s",
    ]
    assert f"{NAME}.npz" in text and "fine-tuned" not in text and "gs://" in text
    flags = commands(text)[1]
    recipe, _ = recipe_of(flags)
    # The names count the light levels from 0.
    light2 = get_recipe("augreg_light2").augmentation
    assert recipe.augmentation == light2 and recipe.optimization.weight_decay == 0.03
    assert recipe.head_bias == -10.0


def test_a_fine_tune_with_its_recipe(index):
    flags = ("--finetuned=imagenet2012", "--resolution=384", "--max_parameters=12e6")
    text = call("augreg", index, *flags).stdout
    assert "vit_small_patch32_384, 384 pixels" in text and "fine-tuned: validation 0.57" in text
    _, flags = commands(text)
    recipe, given = recipe_of(flags)
    assert given["weights"].startswith("S_32-i21k") and given["weights"].endswith(".npz")
    assert "--" not in given["weights"]
    assert (recipe.optimization.steps, recipe.optimization.learning_rate) == (20_000, 0.01)
    assert recipe.model == "vit_small_patch32_384"


@pytest.mark.parametrize(
    ("images", "data", "batch_size"),
    [(300, "oxford_iiit_pet", 256), (2_000, "oxford_iiit_pet", 512), (40_000, "cifar100", 512)],
)
def test_a_user_with_some_images_gets_the_recipe_for_them(index, images, data, batch_size):
    text = call("augreg", index, f"--train_images={images}", "--model=S_16").stdout
    assert f"fine-tunes to {data}" in text and f"nearest to {images:,}" in text
    recipe, given = recipe_of(commands(text)[1])
    assert given["dataset"] == "folder:PATH" and recipe.optimization.batch_size == batch_size
    assert recipe.optimization.warmup_steps == min(500, recipe.optimization.steps // 5)


def test_a_name_says_how_it_was_trained():
    text = call("augreg", f"{LARGE}.npz").stdout
    assert text.startswith("vit_base_patch32_224, 224 pixels, 1,000 classes\n")
    (flags,) = commands(text)
    recipe, _ = recipe_of(flags)
    regularized = get_recipe("augreg_regularized").for_model("vit_base_patch32_224")
    for part in ("model", "model_values", "optimization", "augmentation", "head_bias"):
        assert getattr(recipe, part) == getattr(regularized, part)
    tuned = f"{NAME}--kitti-steps_2k-lr_0.03-res_384"
    recipe, given = recipe_of(commands(call("augreg", tuned).stdout)[1])
    assert (recipe.optimization.steps, recipe.optimization.learning_rate) == (2_500, 0.03)
    assert given["weights"] == f"{NAME}.npz" and parse_checkpoint(given["weights"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give index"),
        (("INDEX", "more.csv"), "more.csv"),
        (("none.csv",), "none.csv"),
        (("model.npz",), "'model.npz' is not the name of a checkpoint"),
        ((NAME, "--resolution=384"), "flags are for an index"),
        (("INDEX", "--data=i1k"), "no pretraining 'i1k', but i21k"),
        (("INDEX", "--train_images=9", "--finetuned=kitti"), "not both"),
        (("INDEX", "--data=jft"), "i21k"),
    ],
)
def test_bad_input_is_one_line(index, arguments, words):
    with pytest.raises(InputError, match=words):
        call("augreg", *(index if argument == "INDEX" else argument for argument in arguments))
