"""Weights by `hf://OWNER/NAME`; a function that returns local files replaces the hub."""

import json

import huggingface_hub
import numpy as np
import pytest
from harness import numpy
from huggingface_hub import errors
from published_cases import DATA, scrambled, values
from safetensors.numpy import load_file, save_file

from keras_deit import InputError, create_model, load_pretrained
from keras_deit.models import get_spec, list_models

NAME = "hf://timm/deit_tiny_patch16_224.fb_in1k"


@pytest.fixture
def hub(monkeypatch):
    """Replaces the hub by a dictionary from repository to local file or error; records requests."""
    repositories, asked = {}, []

    def download(repo_id, filename, local_files_only):
        asked.append((repo_id, filename))
        answer = repositories[repo_id]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr("keras_deit.pretrained.hub.why_unreachable", lambda url: "")
    return repositories, asked


def test_the_safetensors_file_of_the_repository_is_loaded(hub):
    repositories, asked = hub
    repositories["timm/deit_tiny_patch16_224.fb_in1k"] = DATA / "deit.safetensors"
    model = create_model(**values("deit"), weights=NAME)
    outputs = np.load(DATA / "deit.npz")
    assert np.abs(numpy(model(outputs["images"])) - outputs["logits"]).max() <= 1e-5
    names = ["model.safetensors", "config.json", "preprocessor_config.json"]
    assert asked == [("timm/deit_tiny_patch16_224.fb_in1k", name) for name in names]


def test_shards_and_their_configuration_are_downloaded(tmp_path, monkeypatch):
    held = load_file(DATA / "deit.safetensors")
    names = list(held)
    files = {"1.safetensors": names[:9], "2.safetensors": names[9:]}
    for file, part in files.items():
        save_file({name: held[name] for name in part}, tmp_path / file)
    places = {name: file for file, part in files.items() for name in part}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text('{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}')
    asked = []

    def download(repo_id, filename, **options):
        asked.append(filename)
        if not (tmp_path / filename).is_file():
            raise errors.RemoteEntryNotFoundError("404", response=response(404))
        return str(tmp_path / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = create_model(**values("deit"), weights=NAME)
    np.testing.assert_array_equal(numpy(model.get_layer("norm").gamma), held["norm.weight"])
    assert model.image_format.mean == (0.5, 0.5, 0.5)
    assert {*files, "config.json"} <= set(asked)


def test_messages_name_the_repository(hub):
    repositories, _ = hub
    repositories["timm/deit_tiny_patch16_224.fb_in1k"] = DATA / "cait.safetensors"
    with pytest.raises(InputError) as error:
        load_pretrained(scrambled("deit"), NAME)
    assert all(part in str(error.value) for part in (NAME, "CaiT", "DeiT"))


def response(status):
    import httpx2 as httpx

    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.RepositoryNotFoundError("404", response=response(404)), "no such repository"),
        (errors.GatedRepoError("403", response=response(403)), "grant access"),
        (errors.RemoteEntryNotFoundError("404", response=response(404)), "no model.safetensors"),
        (errors.LocalEntryNotFoundError("no network"), "cannot be reached"),
        (errors.HfHubHTTPError("500\nat noon", response=response(500)), "500 at noon"),
        (OSError("No space left"), "No space left"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_errors_of_the_hub_are_one_line(error, message, hub):
    repositories, _ = hub
    repositories["timm/deit_tiny_patch16_224.fb_in1k"] = error
    model = scrambled("deit")
    before = [numpy(variable) for variable in model.variables]
    with pytest.raises(InputError, match=message) as told:
        load_pretrained(model, NAME)
    assert NAME in str(told.value)
    assert "\n" not in str(told.value)
    assert all(map(np.array_equal, before, [numpy(variable) for variable in model.variables]))


@pytest.mark.parametrize("name", ["hf://deit", "hf://", "hf://a/b/c", "hf://a b/c", "hf:///c"])
def test_invalid_names(name, hub):
    _, asked = hub
    with pytest.raises(InputError, match=r"hf://OWNER/NAME.*hf:"):
        create_model(**values("deit"), weights=name)
    assert not asked


def test_every_name_in_the_model_table_is_valid(hub):
    repositories, asked = hub
    names = [file for name in list_models() for file in get_spec(name).files]
    names = [name for name in names if name.startswith("hf://")]
    for name in names:
        repositories[name.removeprefix("hf://")] = OSError("offline")
        with pytest.raises(InputError, match="offline"):
            load_pretrained(scrambled("deit"), name)
    assert len(asked) == len(names) > 8
