"""Writing weights to .safetensors with the names of others."""

import json

import numpy as np
import pytest
from harness import numpy
from published_cases import CASES, DATA, scrambled, tensors, timm_tensors, values
from safetensors import safe_open
from safetensors.numpy import load_file

from keras_deit import InputError, create_model, load_pretrained
from keras_deit.pretrained import save_safetensors


@pytest.mark.parametrize("naming", ["timm", "authors"])
@pytest.mark.parametrize("case", CASES)
def test_published_weights_are_written_back_to_the_bit(case, naming, tmp_path):
    model = scrambled(case)
    load_pretrained(model, DATA / f"{case}.safetensors")
    save_safetensors(model, tmp_path / "a.safetensors", naming)
    written = load_file(tmp_path / "a.safetensors")
    expected = timm_tensors(case) if naming == "timm" else tensors(case)
    assert written.keys() == expected.keys()
    for name, tensor in expected.items():
        assert written[name].dtype == np.float32
        np.testing.assert_array_equal(written[name], tensor, name)


@pytest.mark.parametrize("naming", ["timm", "authors"])
@pytest.mark.parametrize(
    ("case", "changed"),
    [
        # The cases without changes are those of the test above.
        ("deit3", {"stem": "hmlp", "image_size": 32, "patch_size": 16}),
        ("deit_parallel", {"layer_scale_init": None}),
        ("deit", {"qkv_bias": False, "image_size": (32, 16)}),
        ("resmlp", {"pooling": "class_mlp"}),
        ("cait", {"distilled": True}),
    ],
    ids=str,
)
def test_models_that_were_not_published_round_trip_to_the_bit(case, changed, naming, tmp_path):
    model = create_model(**values(case, **changed))
    expected = [numpy(weight) for weight in model.weights]
    save_safetensors(model, str(tmp_path / "a.safetensors"), naming)
    twin = create_model(**values(case, **changed), weights=tmp_path / "a.safetensors")
    for weight, value in zip(twin.weights, expected, strict=True):
        np.testing.assert_array_equal(numpy(weight), value, weight.path)


def test_metadata_are_the_grids_the_format_and_the_record(tmp_path):
    model = create_model(**values("deit", image_size=(32, 16)))
    save_safetensors(model, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        metadata = file.metadata()
    assert metadata.pop("format") == "pt"
    assert metadata.keys() == {"patch_grid", "keras_deit", "crc32"}
    assert json.loads(metadata["keras_deit"])["config"]["image_size"] == [32, 16]
    assert json.loads(metadata["patch_grid"]) == {"pos_embed": [4, 2]}


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    import safetensors.numpy

    def fail(values, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left")

    path = tmp_path / "a.safetensors"
    save_safetensors(scrambled("deit"), path)
    before = path.read_bytes()
    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        save_safetensors(scrambled("deit"), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_an_unknown_naming():
    with pytest.raises(InputError, match=r"'tim'.*timm"):
        save_safetensors(scrambled("deit"), "a.safetensors", "tim")
