"""Weights from the Hugging Face hub."""

import contextlib
import pathlib
import re

from keras_deit.core.errors import InputError
from keras_deit.core.files import read_json
from keras_deit.core.network import why_unreachable

PREFIX = "hf://"
# The files of weights in a repository or a folder of one, the first that is there.
FILES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)

CONFIGS = ("config.json", "preprocessor_config.json")


def download(source: str) -> pathlib.Path:
    """Returns the weight file of a hub repository, from the hub's cache or the network.

    Of weights in shards it is their index, with the shards beside it.

    Args:
        source: "hf://OWNER/NAME".

    Raises:
        InputError: there is no such repository, it has no weights, or the hub cannot be reached.
    """
    repository = source.removeprefix(PREFIX)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"A model on the hub should be {PREFIX}OWNER/NAME, not {source!r}.")
    from huggingface_hub import constants, errors

    # Without a network the hub's client takes half a minute to look into its cache.
    offline = bool(why_unreachable(constants.ENDPOINT))
    try:
        return _download(repository, offline)
    except errors.GatedRepoError as error:
        reason = "its owner has to grant access, and you have to be logged in"
        raise InputError(f"{source} cannot be loaded: {reason}.") from error
    except errors.RepositoryNotFoundError as error:
        reason = "the hub knows no such repository, or it is a private one"
        raise InputError(f"{source} cannot be loaded: {reason}.") from error
    except errors.LocalEntryNotFoundError as error:
        reason = "the hub cannot be reached, and its cache does not hold it"
        raise InputError(f"{source} cannot be loaded: {reason}.") from error
    except errors.EntryNotFoundError as error:
        reason = f"the repository has no {', '.join(FILES)}"
        raise InputError(f"{source} cannot be loaded: {reason}.") from error
    except (OSError, errors.HFValidationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source} cannot be loaded: {reason}") from error


def _download(repository: str, offline: bool) -> pathlib.Path:
    import huggingface_hub
    from huggingface_hub import errors

    def fetch(name: str) -> pathlib.Path:
        path = huggingface_hub.hf_hub_download(repository, name, local_files_only=offline)
        return pathlib.Path(path)

    first_error = None
    for name in FILES:
        try:
            path = fetch(name)
        except errors.EntryNotFoundError as error:
            first_error = first_error or error
            continue
        if name.endswith(".index.json"):
            shards = read_json(path, f"{PREFIX}{repository} has a bad {name}").get("weight_map", {})
            for shard in sorted(set(shards.values())):
                fetch(shard)
        for config in CONFIGS:
            # They say how images are normalized; few repositories have both.
            with contextlib.suppress(errors.EntryNotFoundError):
                fetch(config)
        return path
    raise first_error
