"""The checkpoints of a training in their folder."""

import logging
import pathlib
import re

import numpy as np

from keras_deit.errors import InputError
from keras_deit.training.checkpoints.checkpoint_file import read_checkpoint, write_checkpoint

_LOGGER = logging.getLogger(__name__)
_NAME = re.compile(r"epoch-\d{5}-step-\d{7}\.safetensors")


class CheckpointStore:
    """Keeps the newest checkpoints.

    Args:
        folder: for the checkpoints alone; it need not exist.
        keep: how many of them, at least 1.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2):
        if keep < 1:
            raise InputError(f"At least one checkpoint has to be kept. Received: {keep}.")
        self.folder = folder
        self._keep = keep

    def paths(self) -> list[pathlib.Path]:
        """The checkpoints that are there, the newest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, reverse=True)

    def write(
        self, epoch: int, step: int, tensors: dict[str, np.ndarray], record: dict
    ) -> pathlib.Path:
        """Writes a checkpoint and then removes those that are too many.

        Raises:
            InputError: it cannot be written; those that are there stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch-{epoch:05}-step-{step:07}.safetensors"
        write_checkpoint(path, tensors, record)
        for old in self.paths()[self._keep :]:
            old.unlink()
        return path

    def read_newest(self) -> tuple[pathlib.Path, dict[str, np.ndarray], dict] | None:
        """The newest checkpoint that can be read: its path, tensors and record; None for none.

        One that is broken is passed over with a warning.

        Raises:
            InputError: there are checkpoints, and all are broken.
        """
        paths = self.paths()
        for path in paths:
            try:
                return path, *read_checkpoint(path)
            except InputError as error:
                _LOGGER.warning("%s Going back to the one before.", error)
        if paths:
            raise InputError(
                f"None of the {len(paths)} checkpoints in {self.folder} can be read; "
                "remove that folder to begin anew."
            )
        return None

    def tidy(self, used: pathlib.Path) -> None:
        """Puts away what stands in the way once a checkpoint has been taken up.

        Newer ones were passed over: they are renamed to broken-*. What a process left that was
        killed while it wrote is removed.
        """
        for path in self.paths():
            if path > used:
                path.rename(path.with_name(f"broken-{path.name}"))
        for path in self.folder.glob("partial-*"):
            path.unlink()
