"""Whether what TensorFlow Datasets (TFDS) has to download can be reached, found out in seconds."""

import os
import pathlib
from urllib.parse import urlsplit

from keras_deit.core.errors import InputError
from keras_deit.core.network import why_unreachable

# Sources whose names alone TFDS asks a host for.
_HOSTS = {"huggingface:": os.environ.get("HF_ENDPOINT") or "https://huggingface.co"}


def check_host_of_name(name: str) -> None:
    """Checks that the host that TFDS asks about a dataset can be reached, if it asks one.

    Raises:
        InputError: it cannot.
    """
    for prefix, url in _HOSTS.items():
        if name.startswith(prefix) and (reason := why_unreachable(url)):
            raise InputError(f"Cannot open dataset {name!r}: {reason}.")


def why_not_downloadable(builder) -> str:
    """Returns why nothing can be downloaded now; empty if it can, or if something was before.

    A dataset knows the files of all its configurations, and this one may need none of those that
    are missing.

    Args:
        builder: TFDS's builder of a dataset that is not prepared.
    """
    urls, missing = builder.url_infos or {}, _missing(builder)
    if len(missing) < len(urls):
        return ""
    hosts = {urlsplit(url).hostname: url for url in missing}
    return next(filter(None, map(why_unreachable, hosts.values())), "")


def _missing(builder) -> list[str]:
    """Returns the URLs of the files that are not among the downloads."""
    from tensorflow_datasets.core.download.resource import get_dl_fname

    downloads = pathlib.Path(builder.data_dir_root) / "downloads"
    held = set()
    for _, subfolders, names in os.walk(downloads):
        held.update(names)
        if "extracted" in subfolders:  # It can have millions of files.
            subfolders.remove("extracted")
    return [
        url
        for url, info in (builder.url_infos or {}).items()
        # TFDS's names: of the contents, of the address alone, and by hand.
        if not {get_dl_fname(url, info.checksum), get_dl_fname(url), info.filename} & held
    ]
