"""Which model weights are of, told from their source alone."""

import zipfile

import numpy as np
import pytest
from run_files import write_run_of

from keras_deit import InputError, create_model
from keras_deit.models import get_spec, list_models
from keras_deit.pretrained import hub
from keras_deit.pretrained.conversion import save_model
from keras_deit.pretrained.source_models import SourceModel, source_model

SIZES = {"image_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
OTHER = {**SIZES, "stem": "conv"}


@pytest.fixture(scope="module")
def model():
    return create_model("deit_tiny_patch16_224", num_classes=3, drop_path_rate=0.2, **OTHER)


@pytest.fixture
def run_folder(model, tmp_path):
    """The files of a run that its weights are read by."""
    write_run_of(model, tmp_path)
    return tmp_path


def test_a_run_and_its_files_say_name_and_values(run_folder):
    expected = SourceModel("deit_tiny_patch16_224", OTHER)
    assert source_model(run_folder) == expected
    assert source_model(f"{run_folder}#final") == expected
    assert source_model(run_folder / "final.weights.h5") == expected


@pytest.mark.parametrize("suffix", [".weights.h5", ".safetensors", ".keras"])
def test_a_file_of_this_package_says_them_too(model, suffix, tmp_path):
    path = tmp_path / f"mine{suffix}"
    save_model(model, path)
    found = source_model(path)
    assert found.values == OTHER or {**found.values, "distilled": False} == OTHER
    assert get_spec(found.name).family.__name__ == "DeiT"
    assert create_model(found.name, path, 3, **found.values).count_params() == model.count_params()


def test_published_weights_say_it_by_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "download", None)  # Nothing is fetched.
    released = {name: get_spec(name).files for name in list_models(pretrained=True)}
    for name, files in released.items():
        on_hub = [file for file in files if file.startswith("hf://")]
        assert [source_model(file) for file in on_hub] == [SourceModel(name, {})] * len(on_hub)
    for address in ("hf://me/deit-small-patch16-224-pets", "hf://me/DeiT_Small_patch16_224#ema"):
        assert source_model(address).name == "deit_small_patch16_224"
    assert source_model("hf://me/pets") is None
    (tmp_path / "S24_224.pth").write_bytes(b"\x80\x02")
    assert source_model(tmp_path / "S24_224.pth").name == "cait_s24_224"
    with pytest.raises(InputError, match="no weights file"):
        source_model(tmp_path / "gone.pth")


def test_the_configuration_beside_a_file_names_it(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1, "float32")}, tmp_path / "model.safetensors")
    assert source_model(tmp_path) is None
    (tmp_path / "config.json").write_text('{"architecture": "deit_small_patch16_224"}')
    assert source_model(tmp_path).name == "deit_small_patch16_224"
    (tmp_path / "config.json").write_text('{"_name_or_path": "facebook/deit-base-patch16-384"}')
    assert source_model(tmp_path).name == "deit_base_patch16_384"


@pytest.mark.parametrize("config", [None, "{", "[]", '{"class_name": "DeiT", "config": 3}'])
def test_a_damaged_keras_file_is_one_line_or_says_nothing(config, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
        archive.writestr("metadata.json", "{}")
        if config is not None:
            archive.writestr("config.json", config)
    try:
        assert source_model(tmp_path / "model.keras") is None
    except InputError as error:
        assert "model.keras" in str(error) and "\n" not in str(error)


def test_another_model_gets_the_values_that_both_names_share():
    known = SourceModel("deit_tiny_patch16_224", {"patch_size": 4, "embed_dim": 96})
    shared = ("deit_tiny_distilled_patch16_224", "deit_base_patch16_224", "cait_xxs24_224")
    assert [known.values_for(name) for name in shared] == [known.values, {"patch_size": 4}, {}]
