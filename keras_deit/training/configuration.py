"""Reading the configuration of a run, of whatever version has written it."""

import pathlib

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import read_json
from keras_deit.data import full_name
from keras_deit.pretrained.own_weights import check_run_file
from keras_deit.training.earlier_formats import upgraded_run
from keras_deit.training.identity import FORMAT
from keras_deit.training.paths import with_absolute_names

_TEXT = (str, type(None))
# What later tools need of a configuration, with its kinds.
_NEEDED = {
    "run": dict,
    "model": dict,
    "data_dir": _TEXT,
    "class_names": list,
    "crop_ratio": (int, float),
    "interpolation": str,
    "teacher": _TEXT,
    "teacher_contract": (dict, type(None)),
}
# What it may lack, because earlier versions did not store it.
_KINDS = {
    **_NEEDED,
    "examples": dict,
    "on_bad_image": str,
    "max_image_pixels": int,
    "exif_orientation": bool,
    "data": (dict, type(None)),
    "data.digest": str,
    "teacher_class_order": (list, type(None)),
    "teacher_digest": _TEXT,
    "teacher_request": dict,
    "teacher_replay": str,
    "teacher_labels": dict,
    "accepted_data_changes": list,
    "effective": dict,
    **dict.fromkeys(("run.dataset", "run.backend", "run.recipe", "run.model"), str),
    **dict.fromkeys(("run.optimization", "run.augmentation", "run.objective"), dict),
    "run.model_values": dict,
}


def read_config(path: pathlib.Path) -> dict:
    """Returns the values of `config.json`, in the present format.

    Args:
        path: path of the file in the directory of a run.

    Raises:
        InputError: there is no such file, it is not that of a run, or it is not what the summary of
            a finished run has the digest of.
    """
    config = read_json(path, f"{path.parent} is not a run directory")
    check_run_file(path)
    missing = sorted(set(_NEEDED) - set(config))
    if missing:
        raise InputError(
            f"{path.parent} is not a run directory: its {path.name} has no {', '.join(missing)}."
        )
    version = config.get("format", 1)
    _check_kinds({**config, "format": version}, {**_NEEDED, "format": int}, path)
    if version > FORMAT:
        raise InputError(
            f"{path.parent} was written by a newer version of keras_deit (format {version}); this "
            f"one reads formats up to {FORMAT}."
        )
    with corrupt_as_input_error(f"{path.parent} has a corrupt {path.name}"):
        run = upgraded_run(config["run"]) if version == 1 else config["run"]
        _check_kinds({**config, "run": run}, _KINDS, path)
        run = {**with_absolute_names(run), "dataset": full_name(run["dataset"])}
        return {**config, "run": run}


def _check_kinds(config: dict, kinds: dict, path: pathlib.Path) -> None:
    values = dict(config)
    for part in ("run", "data"):
        if isinstance(config.get(part), dict):
            values |= {f"{part}.{name}": value for name, value in config[part].items()}
    wrong = [
        name
        for name, kind in kinds.items()
        if name in values and not isinstance(values[name], kind)
    ]
    if wrong:
        raise InputError(
            f"{path.parent} has a corrupt {path.name}: {', '.join(wrong)} is of another kind than "
            "a run's."
        )
