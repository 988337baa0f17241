"""Makes the folder `data` from the outputs of the authors' PyTorch code.

    python tests/pretrained/make_data.py ORIGINALS [OUTPUT]

ORIGINALS is a directory with `specs.json` and, for each case in it, `CASE.safetensors`, `CASE.npz`
and `CASE_resized_R.npz` as `data/README.md` describes them. They come from the authors' code
(github.com/facebookresearch/deit), are checked, and are copied as they are. The files in the
nesting of the released weights are made here. OUTPUT is `data` by default.
"""

import json
import pathlib
import re
import shutil
import sys

import numpy as np
import torch
from safetensors.numpy import load_file

DATA = pathlib.Path(__file__).parent / "data"
# The beginning of the names in the nested file of each case that has one.
NESTED = {"deit_distilled": "", "cait": "module."}


def make(originals: pathlib.Path, output: pathlib.Path) -> None:
    """Writes all files but README.md.

    Args:
        originals: the directory with the outputs of the authors' code.
        output: the directory to write to.
    """
    specs = json.loads((originals / "specs.json").read_text())
    output.mkdir(parents=True, exist_ok=True)
    _copy(originals / "specs.json", output)
    for case, spec in specs.items():
        weights = originals / f"{case}.safetensors"
        tensors = load_file(weights)
        _check_weights(case, tensors, spec["params"])
        _copy(weights, output)
        _check_outputs(originals / f"{case}.npz", spec["create"])
        _copy(originals / f"{case}.npz", output)
        for resized in sorted(originals.glob(f"{case}_resized_*.npz")):
            size = int(re.fullmatch(rf"{case}_resized_(\d+)", resized.stem)[1])
            _check_outputs(resized, {**spec["create"], "image_size": size})
            _copy(resized, output)
        if case in NESTED:
            nested = {NESTED[case] + name: torch.from_numpy(t) for name, t in tensors.items()}
            torch.save({"model": nested}, output / f"{case}_nested.pth")


def _check_weights(case: str, tensors: dict[str, np.ndarray], parameters: int) -> None:
    count = sum(tensor.size for tensor in tensors.values())
    if count != parameters:
        raise SystemExit(f"{case} has {count} parameters; its spec has {parameters}.")
    for name, tensor in tensors.items():
        # A bias of 0 or a factor of 1 would hide a wrong name.
        trivial = (tensor == 0).all() or (tensor == 1).all()
        if tensor.dtype != np.float32 or trivial or not np.isfinite(tensor).all():
            raise SystemExit(f"{name} of {case} should be random, finite and float32.")


def _check_outputs(path: pathlib.Path, create: dict) -> None:
    arrays = np.load(path)
    side = create["image_size"]
    shapes = {name: arrays[name].shape for name in ("images", "logits")}
    images = len(arrays["images"])
    expected = {"images": (images, side, side, 3), "logits": (images, create["num_classes"])}
    if shapes != expected:
        raise SystemExit(f"{path.name} has the shapes {shapes}; its spec has {expected}.")
    if not all(np.isfinite(arrays[name]).all() for name in arrays):
        raise SystemExit(f"{path.name} should be finite.")


def _copy(path: pathlib.Path, output: pathlib.Path) -> None:
    if path.parent.resolve() != output.resolve():
        shutil.copyfile(path, output / path.name)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    make(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]) if sys.argv[2:] else DATA)
