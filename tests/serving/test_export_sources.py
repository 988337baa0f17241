"""What is exported: weights without a run, their class names, and what is refused."""

import json

import pytest

from keras_deit import create_model
from keras_deit.core.errors import InputError
from keras_deit.evaluation import imagenet_class_names
from keras_deit.pretrained.conversion import save_model
from keras_deit.pretrained.sources import class_names_beside
from keras_deit.serving import export_model
from keras_deit.serving.sources import load_source

NAME = "deit_tiny_patch16_224"
SMALL = {"image_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1}


def test_class_names_of_a_weight_file_of_a_run(make_run, tmp_path):
    run = make_run(tmp_path / "run", crop_ratio=0.9)
    for weights in (run.path, run.final_weights, f"{run.path}#final"):
        source = load_source(None, None, str(weights), None, "fused")
        assert (*source.class_names,) == ("ant", "bée", "cat") and source.view[0] == 0.9
        assert source.model.dtype_policy.name == "float32"
    with pytest.raises(InputError, match="holds a deit_tiny_distilled_patch16_224, not a deit_ti"):
        load_source(None, NAME, str(run.final_weights), None, "fused")


@pytest.mark.parametrize("count", [4, 1000])
def test_class_names_of_other_files(count, tmp_path):
    file = tmp_path / "model.keras"
    save_model(create_model(NAME, num_classes=count, dtype="mixed_bfloat16", **SMALL), file)
    source = load_source(None, None, str(file), 24, "class")
    assert source.class_names[3] == {4: "3", 1000: imagenet_class_names()[3]}[count]
    assert source.model.input_shape == (None, 24, 24, 3)
    assert source.model.dtype_policy.name == "float32"


def test_class_names_beside_a_file(tmp_path):
    by_index = {"id2label": {"0": "a", "1": "b"}}
    unnamed = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
    for config, names in (
        (by_index, ("a", "b")),
        ({"label_names": ["c", "d"], "architecture": NAME}, ("c", "d")),
        (unnamed, None),
        ({"id2label": {"0": "a", "2": "b"}}, None),
        ({"label_names": ["c"]}, None),
        ({}, None),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert class_names_beside(tmp_path / "model.safetensors", 2) == names


REFUSED = {
    "Give a run, the name of a model, or weights": {},
    "not both": {"run_dir": "run", "model": NAME},
    "Unknown format 'onxx'. Close names: onnx": {"model": NAME, "formats": ["onxx"]},
    "at least one format": {"model": NAME, "formats": []},
    "Unknown quantization 'int4'": {"model": NAME, "formats": ["onnx"], "quantize": "int4"},
    "A SavedModel has no int8": {"run_dir": "run", "quantize": "int8"},
    "needs images: give a dataset": {"model": NAME, "formats": ["onnx"], "quantize": "int8"},
    "which is not given": {"model": NAME, "dataset": "digits"},
    "Unknown head 'mean'. Close names": {"weights": "FILE", "heads": "mean"},
    "has no distillation head. It has: class": {"weights": "FILE", "heads": "distillation"},
    "are those of a run": {"weights": "ema"},
    "has no heads": {"weights": "HEADLESS"},
    "does not take color images": {"weights": "GRAY"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_one_line(message, tmp_path):
    values = dict(REFUSED[message])
    models = {"FILE": {}, "HEADLESS": {"num_classes": 0}, "GRAY": {"in_channels": 1}}
    if values.get("weights") in models:
        model = create_model(NAME, **{"num_classes": 4, **SMALL, **models[values["weights"]]})
        values["weights"] = str(tmp_path / "model.keras")
        save_model(model, values["weights"])
    with pytest.raises(InputError, match=message):
        export_model(**values, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
