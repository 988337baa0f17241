"""Weights from the Hugging Face hub."""

import pathlib
import re

from keras_deit.core.errors import InputError
from keras_deit.core.network import why_unreachable

PREFIX = "hf://"
_FILE = "model.safetensors"


def download(source: str) -> pathlib.Path:
    """Returns the weight file of a hub repository, from the hub's cache or the network.

    Args:
        source: "hf://OWNER/NAME".

    Raises:
        InputError: there is no such repository, it has no safetensors file, or the hub cannot be
            reached.
    """
    repository = source.removeprefix(PREFIX)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"A model on the hub should be {PREFIX}OWNER/NAME, not {source!r}.")
    import huggingface_hub
    from huggingface_hub import constants, errors

    # Without a network the hub's client takes half a minute to look into its cache.
    offline = bool(why_unreachable(constants.ENDPOINT))
    try:
        path = huggingface_hub.hf_hub_download(repository, _FILE, local_files_only=offline)
        return pathlib.Path(path)
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
        reason = f"the repository has no {_FILE}; download one of its other files and give the path"
        raise InputError(f"{source} cannot be loaded: {reason}.") from error
    except (OSError, errors.HFValidationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source} cannot be loaded: {reason}") from error
