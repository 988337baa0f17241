"""What a command that the soak test kills has given, in a form that can be compared."""

import hashlib
import json
import pathlib
import zipfile

import h5py
import numpy as np


def given(subject: str, folder: pathlib.Path, ending: str = "") -> dict:
    """Returns all that a command has given and that does not depend on the clock, by name."""
    if subject == "convert":
        return _contents(folder / f"converted{ending}")
    if subject == "export":
        return _newest_version(folder / "exported")
    if subject == "teacher":
        top1 = json.loads((folder / "teacher.json").read_text())["top1"]
        return {"top-1": top1, "weights": _contents(folder / "teacher.keras")}
    folder = folder / "student"
    summary = json.loads((folder / "summary.json").read_text())
    names = [f"{name}.weights.h5" for name in ("final", "ema", "best")]
    return {
        **{name: summary[name] for name in ("test", "test_ema", "best", "steps")},
        "metrics.csv": (folder / "metrics.csv").read_text(),
        **{name: _contents(folder / name) for name in names},
    }


def _newest_version(folder: pathlib.Path) -> dict:
    """Returns the variables of the newest SavedModel, and which files it has.

    The variables have another order every time, as have the functions in the other files, and the
    generators of random layers, integers, another seed.
    """
    import tensorflow as tf

    newest = max(folder.iterdir(), key=lambda path: int(path.name))
    reader = tf.train.load_checkpoint(str(newest / "variables" / "variables"))
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith("VARIABLE_VALUE")]
    values = [reader.get_tensor(n) for n in names]
    return {
        "files": sorted(str(path.relative_to(newest)) for path in newest.rglob("*")),
        "weights": sorted((v.shape, v.tobytes()) for v in values if v.dtype.kind == "f"),
    }


def files_below(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Returns the digests of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _contents(path: pathlib.Path) -> dict:
    """Returns what a file of weights holds, without the time at which it was written."""
    if path.suffix == ".safetensors":
        # Its header has the metadata in another order every time.
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        return {"header": json.loads(content[8:end]), "tensors": content[end:]}
    if path.suffix == ".h5":
        return _arrays(path)
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as weights:
        return {"config": archive.read("config.json"), **_arrays(weights)}


def _arrays(file) -> dict[str, tuple]:
    """Returns the arrays of an HDF5 file by name, as dtype and bytes."""
    found = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            value = np.asarray(item[()])
            found[name] = (str(value.dtype), value.tobytes())

    with h5py.File(file) as opened:
        opened.visititems(collect)
    return found


def is_partial(path: pathlib.Path) -> bool:
    return any(part.startswith("partial-") for part in path.parts)
