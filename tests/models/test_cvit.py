"""CViT computes what its authors' code computes, and an image's logits are its own."""

import numpy as np
import parity_systems
import pytest
from cvit_model_cases import CVIT
from harness import numpy, run
from safetensors.numpy import save_file

from keras_deit.core.errors import InputError
from keras_deit.layers.initializers import skip_init
from keras_deit.models import CViT, abstract_model
from keras_deit.pretrained import load_pretrained, save_safetensors

POSITIONS = {"model.cvit.CViT": "image", "model.cvit_old.CViT": "batch"}
WIDTHS = (32, 64, 128, 256, 512)
PUBLISHED = parity_systems.PUBLISHED["cvit_224px_2"]
PUBLISHED_OLD = parity_systems.PUBLISHED["cvit_old_224px_2"]

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")


def by_case(full=None):
    found = [case for original in POSITIONS for case in parity_systems.cases(original, full)]
    return pytest.mark.parametrize(
        "case",
        [pytest.param(case, marks=pytest.mark.slow if case.is_full else ()) for case in found],
        ids=str,
    )


def arguments(case):
    original = case.spec["original"]
    widths = tuple(width // original.get("channel_divisor", 1) for width in WIDTHS)
    embed_dim = case.arguments.get("dim", 1024)

    def last_width(channels):
        assert channels == widths[-1], f"{case} takes another width than the stem has."
        return {}

    known = {
        "image_size": "image_size",
        "patch_size": "patch_size",
        "num_classes": "num_classes",
        "channels": last_width,
        "dim": "embed_dim",
        "depth": "depth",
        "heads": "num_heads",
        # A width that is a whole number however the quotient is rounded.
        "mlp_dim": lambda hidden: {"mlp_ratio": (hidden + 1e-3) / embed_dim},
    }
    given = case.constructor(known)
    return {**given, "stem_channels": widths, "positions": POSITIONS[original["class"]]}


def results(model):
    groups = len(model.get_config()["stem_depths"])
    pools = [model.get_layer(f"stem_{group}_pool").output for group in range(groups)]
    return {
        # The cases have a corner of it.
        "conv_0": model.get_layer("stem_0_relu_0").output[:, :16, :16],
        **{f"group_{group}": pool for group, pool in enumerate(pools)},
        "features": pools[-1],
        "patch_embedding": model.get_layer("patch_embedding").output,
        "tokens": model.blocks[0].input,
        **{f"block_{index}": block.output for index, block in enumerate(model.blocks)},
        "transformer": model.blocks[-1].output,
    }


@every_backend
@pytest.mark.nightly("jax")
@by_case()
def test_everything_equals_the_original(case, tmp_path):
    with skip_init():
        model = CViT(**arguments(case))
    parity_systems.load(case, model, tmp_path)
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert count == case.spec["params"] == case.spec["trainable"]
    print(parity_systems.check_model(case, model, results(model)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cvit_224", PUBLISHED["with_2x1024_positions"]),
        ("cvit2_224", PUBLISHED["params"]),
        ("cvit_old_224", PUBLISHED_OLD["params"]),
    ],
)
def test_parameters_are_those_of_the_authors(name, expected):
    model = abstract_model(name)
    parts = {
        "convolutional_part": ("stem_",),
        "patch_dense": ("patch_embedding",),
        "transformer": ("block_",),
        "head": ("head_hidden", "class_head"),
        "class_token": ("class_token",),
    }
    for part, starts in parts.items():
        found = sum(np.prod(w.shape) for w in model.trainable_weights if w.path.startswith(starts))
        assert found == PUBLISHED[part], part
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == expected


def build(**changed):
    return CVIT.build_random(**changed)


@every_backend
@pytest.mark.parametrize("positions", ["token", "image"])
def test_logits_do_not_depend_on_the_rest_of_the_batch(positions):
    model, images = build(positions=positions), CVIT.inputs()
    together = numpy(run(model, images))
    moved = numpy(run(model, images[::-1].copy()))[::-1]
    alone = np.concatenate([numpy(run(model, images[i : i + 1])) for i in range(len(images))])
    for other in (moved, alone):
        np.testing.assert_allclose(other, together, rtol=0, atol=1e-5 * np.abs(together).max())


@every_backend
def test_logits_of_the_first_code_depend_on_the_place_in_the_batch():
    model, images = build(positions="batch"), CVIT.inputs()
    assert (
        np.abs(numpy(run(model, images[::-1].copy()))[::-1] - numpy(run(model, images))).max()
        > 0.01
    )
    with pytest.raises(InputError, match="at most 32 images"):
        model(np.zeros((33, 8, 16, 3), "float32"))


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        ("batch", "token", r"pos_embedding \(32, 1, 8\), are those of .* positions \"batch\""),
        ("token", "batch", "are those of another image size or other positions"),
        ("token", "image", r"its pos_embedding has the shape \(1, 3, 8\)"),
    ],
)
def test_a_file_with_other_positions_is_one_line(held, wanted, expected, tmp_path):
    save_safetensors(build(positions=held), tmp_path / "held.safetensors")
    with pytest.raises(InputError, match=expected):
        load_pretrained(build(positions=wanted), tmp_path / "held.safetensors")


def test_the_rows_that_are_used_of_the_authors_positions_are_loaded(tmp_path):
    model, other = build(positions="image"), CVIT.build()
    save_safetensors(model, tmp_path / "authors.safetensors")
    load_pretrained(other, tmp_path / "authors.safetensors")
    logits = [numpy(run(each, CVIT.inputs())) for each in (model, other)]
    np.testing.assert_array_equal(*logits)


def test_a_file_by_the_authors_names_comes_back(tmp_path):
    model = build(positions="image")
    entries = parity_systems.model_entries(model, model.weight_names()["authors"])
    tensors = {name: t for e in entries for name, t in zip(e.names, e.tensors(), strict=True)}
    assert "features.1.running_var" in tensors and "features.7.weight" in tensors
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, tmp_path / "a.safetensors")
    other = CVIT.build(positions="image")
    load_pretrained(other, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(*(numpy(run(each, CVIT.inputs())) for each in (model, other)))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"image_size": (8, 20)},
            "image_size 8×20 is not a multiple of the pixels per patch behind the stem, 8; ",
        ),
        ({"stem_depths": (1,)}, r"a number for each group. Received: \(1,\) and \(4, 6\)"),
        ({"positions": "tokens"}, "positions"),
    ],
)
def test_impossible_values_are_one_line(changed, expected):
    with pytest.raises(InputError, match=expected):
        CVIT.build(**changed)


def test_a_resized_image_resizes_positions_of_tokens(tmp_path):
    save_safetensors(build(), tmp_path / "small.safetensors")
    larger = CVIT.build(image_size=(16, 16))
    load_pretrained(larger, tmp_path / "small.safetensors")
    assert np.isfinite(numpy(run(larger, np.zeros((2, 16, 16, 3), "float32")))).all()
