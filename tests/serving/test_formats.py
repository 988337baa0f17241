"""ONNX, LiteRT and OpenVINO: where they run, their files answer as the Keras model does."""

import json
import pathlib

import keras
import numpy as np
import pytest
from formats import SUFFIXES, answers, expected, need
from processes import end_all, start

from keras_deit import create_model
from keras_deit.core.errors import InputError
from keras_deit.data.digits import load_digits
from keras_deit.data.transforms import center_crop_resize
from keras_deit.models import get_spec
from keras_deit.pretrained.conversion import change_model
from keras_deit.serving import converters, export, export_model
from keras_deit.training import load_run

FORMATS = tuple(SUFFIXES)
WEIGHTS = {**SUFFIXES, "openvino": ".bin"}
DIGITS_MODEL = "deit_tiny_patch16_224"
SMALL = {"embed_dim": 24, "depth": 2, "num_classes": 5}
# Of every family the model with the most layers of its own.
MODELS = {
    "deit_tiny_distilled_patch16_224": {"image_size": (16, 24), "patch_size": 8},
    "deit3_small_patch16_224": {"image_size": 16, "patch_size": 8, "num_heads": 3},
    "cait_xxs24_224": {"image_size": 16, "patch_size": 8, "num_heads": 3},
    "sl_vit_patch4_32": {"image_size": 16, "patch_size": 8, "num_heads": 3},
    "sl_cait_patch4_32": {"image_size": 16, "patch_size": 8, "num_heads": 3, "head_dim": 8},
    "sl_pit_patch2_32": {
        **{"image_size": (16, 24), "patch_size": 4, "depth": (1, 1), "num_heads": (2, 4)},
        "head_dim": 12,
    },
    # Without SPT and LSA it is the one with the convolution.
    "pit_small_data_patch2_32": {
        **{"image_size": 16, "patch_size": 4, "depth": (1, 1), "num_heads": (2, 4)},
        "head_dim": 12,
    },
    "sl_t2t_32": {"image_size": (16, 24), "token_dim": 8, "num_heads": 3},
    "resmlp_12_224": {"image_size": 16, "patch_size": 8},
    "vit_small_r26_s32_224": {
        **{"image_size": 16, "num_heads": 3, "stem_depths": (1, 1), "stem_width": 32},
    },
    "patchconvnet_s60_multi_224": {"image_size": 32},
    "cvit_224": {
        **{"image_size": 16, "patch_size": 2, "num_heads": 3},
        **{"stem_depths": (1, 1), "stem_channels": (4, 8)},
    },
    "sl_swin_patch2_32": {"image_size": (16, 8), "depth": (2, 1), "num_heads": (3, 6)},
    "binary_vit_small_patch4_224": {
        **{"image_size": (16, 32), "depth": (1, 1), "num_heads": 3, "mlp_ratio": 2},
        "reduction": (2, 1),
    },
}


def quiet(line):
    """Prints nothing."""


def random_images(model, count=5):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(1).random(shape, np.float32)


def save(model, path):
    """Gives a model the weights of one that has learned something, and writes it."""
    for variable in model.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.3))
    model.save(path)
    return str(path)


def assert_answers_are_those_of(model, name, folder):
    images = random_images(model)
    for count in (1, 2, 5):
        found = answers(name, folder, images[:count])
        for values, wanted in zip(found, expected(model, images[:count]), strict=True):
            assert wanted.std() > 1e-3
            np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-4)


# In `make test`; the others, whose layers these mostly have too, nightly.
_OFTEN = ("deit_tiny_distilled_patch16_224", "cait_xxs24_224", "sl_pit_patch2_32")
_OFTEN += ("vit_small_r26_s32_224", "patchconvnet_s60_multi_224")


@pytest.mark.slow
@pytest.mark.parametrize(
    "model_name",
    [pytest.param(x, marks=[] if x in _OFTEN else pytest.mark.nightly) for x in MODELS],
)
def test_answers_are_those_of_the_keras_model(model_name, tmp_path):
    need(*FORMATS)
    model = create_model(model_name, **{**SMALL, **MODELS[model_name]})
    file = save(model, tmp_path / "model.keras")
    paths = export_model(weights=file, formats=FORMATS, output_dir=tmp_path, print_fn=quiet)
    assert paths == {name: tmp_path / model_name / name / "1" for name in FORMATS}
    for name, folder in paths.items():
        assert_answers_are_those_of(model, name, folder)


def test_one_head_for_images_of_another_size(make_run, tmp_path):
    need("onnx")
    run = make_run(tmp_path / "run", crop_ratio=0.9)
    (tmp_path / "out" / "pets" / "7").mkdir(parents=True)
    folder = export_model(
        run.path,
        formats=["onnx"],
        heads="distillation",
        image_size=(16, 24),
        output_dir=tmp_path / "out",
        name="pets",
        print_fn=quiet,
    )["onnx"]
    # One number for all formats, above that of the SavedModel.
    assert folder == tmp_path / "out" / "pets" / "onnx" / "8"
    resized = change_model(run.model(dtype="float32"), image_size=(16, 24))
    head = keras.Model(resized.input, resized.heads.output["distillation"])
    head.image_format = resized.image_format
    assert_answers_are_those_of(head, "onnx", folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "labels.txt", "model.onnx", "model_card.json"]
    assert (folder / "labels.txt").read_text("utf-8") == "ant\nbée\ncat\n"
    card = json.loads((folder / "model_card.json").read_text())
    assert card["preprocessing"]["width"] == 24 and card["preprocessing"]["crop_ratio"] == 0.9
    assert {"model.onnx", "labels.txt"} <= set(card["sha256"])


def digits_of(split):
    """Returns the images of a split in the evaluation view, RGB in [0, 1], and their labels."""
    source, spec = getattr(load_digits(), split), get_spec(DIGITS_MODEL)
    images, labels = zip(*(source[index] for index in range(len(source))), strict=True)
    view = (16, 16, spec.crop_ratio, spec.interpolation)
    return np.stack([center_crop_resize(image, *view) for image in images]), np.array(labels)


def digits_model():
    """Returns a model that was trained on the digits: AdamW, a cosine from 0.004, 23 epochs of
    batches of 64, weight decay 0.02."""
    arguments = {"image_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
    weights = pathlib.Path(__file__).with_name("digits.safetensors")
    return create_model(DIGITS_MODEL, weights, num_classes=10, **arguments)


@pytest.mark.slow
def test_8_bit_integers_lose_less_than_a_point_on_digits(tmp_path):
    need(*FORMATS)
    digits_model().save(tmp_path / "digits.keras")
    lines = []
    folders = export_model(
        weights=str(tmp_path / "digits.keras"),
        formats=FORMATS,
        quantize="int8",
        dataset="digits",
        output_dir=tmp_path,
        print_fn=lines.append,
    )
    images, labels = digits_of("test")
    pixels = images / np.float32(255)
    for name, folder in folders.items():
        top1 = {}
        for kind, stem in {"float": "model", "int8": "model_int8"}.items():
            logits, _ = answers(name, folder, pixels, stem)
            top1[kind] = np.mean(logits.argmax(-1) == labels)
        card = json.loads((folder / "model_card.json").read_text())
        measured = card["measured_at_export"]
        assert {kind: measured[f"top-1 on 360 test images, {kind}"] for kind in top1} == top1
        assert top1["float"] > 0.9 and top1["int8"] > top1["float"] - 0.01
        assert f"top-1 on 360 test images: {top1['int8']:.4f}, float" in "\n".join(lines)
        suffix = WEIGHTS[name]
        sizes = [(folder / f"{stem}{suffix}").stat().st_size for stem in ("model_int8", "model")]
        assert sizes[0] < 0.7 * sizes[1]


TRAIN_AND_EXPORT = """
import sys, keras_deit
from keras_deit.serving import export_model
run = keras_deit.train(
    dataset="digits", distillation="none", run_dir=sys.argv[1], epochs=1, batch_size=400,
    validation_epochs=1, depth=1, embed_dim=24, print_fn=lambda line: None,
)
export_model(run.path, formats=[sys.argv[2]], output_dir=sys.argv[3])
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_a_run_of_another_backend_is_exported_there(tmp_path):
    formats = {"jax": "onnx", "torch": "litert"}
    need(*formats.values())
    processes = [
        start("-c", TRAIN_AND_EXPORT, tmp_path / backend, name, tmp_path / "out", backend=backend)
        for backend, name in formats.items()
    ]
    for (backend, name), printed in zip(formats.items(), end_all(processes), strict=True):
        assert printed.startswith("The export runs in a process of its own, with the TensorFlow")
        folder = tmp_path / "out" / backend / name / "1"
        assert str(folder) in printed
        model = load_run(tmp_path / backend).model()
        assert_answers_are_those_of(model, name, folder)


class Killed(BaseException):
    """Ends an export without giving it a chance to react, like SIGKILL."""


@pytest.mark.parametrize("error", [Killed, RuntimeError("Not supported: Foo")])
def test_an_export_that_ends_early_leaves_the_earlier_one(error, make_run, tmp_path, monkeypatch):
    need("onnx")
    run = make_run(tmp_path / "run")
    earlier = tmp_path / "out" / run.path.name / "onnx" / "1" / "model.onnx"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("earlier")

    def write_half(classifier, path):
        path.write_text("half")
        raise error

    monkeypatch.setattr("keras_deit.serving.onnx_format.convert", write_half)
    with pytest.raises((Killed, InputError)) as raised:
        export_model(run.path, formats=["onnx"], output_dir=tmp_path / "out", print_fn=quiet)
    assert [file for file in (tmp_path / "out").rglob("*") if file.is_file()] == [earlier]
    if error is not Killed:
        message = "ONNX cannot take deit_tiny_distilled_patch16_224: RuntimeError, Not supported"
        assert str(raised.value).startswith(message)


def test_what_computes_something_else_or_is_too_large_is_refused(make_run, tmp_path, monkeypatch):
    need("onnx")
    run = make_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(converters, "TOLERANCE", 0.0)
        with pytest.raises(InputError, match="ONNX computes something else than Keras"):
            export_model(run.path, formats=["onnx"], output_dir=tmp_path / "out")
    monkeypatch.setattr(converters, "_MAX_BYTES", 1000)
    with pytest.raises(InputError, match="a file of ONNX holds 2 GB"):
        export_model(run.path, formats=["onnx"], output_dir=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_extra_is_named(make_run, tmp_path, monkeypatch):
    """Before the run is read."""
    found = export.importlib.util.find_spec
    for package, extra in {
        "tensorflow": "tensorflow",
        "tf2onnx": "onnx",
        "ai_edge_litert": "litert",
        "openvino": "openvino",
    }.items():
        hidden = lambda name, package=package: None if name == package else found(name)  # noqa: E731
        monkeypatch.setattr(export.importlib.util, "find_spec", hidden)
        with pytest.raises(InputError, match=rf"keras-deit\[{extra}\]"):
            export_model("absent", formats=[extra if extra in FORMATS else "tf_saved_model"])
