"""Handling of images that cannot be read."""

from collections.abc import Iterable

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.labels import ImpossibleLabel

_POLICIES = ("fail", "skip")


class BadImages:
    """Records unreadable images, or fails at the first one.

    An image is unreadable if its source or its decoder raises an `InputError`: the file is missing,
    truncated, or not an image; also a JPEG file whose end the decoder has filled with gray. A JPEG
    file that is damaged inside in another way is decoded with its damage, with or without this
    class.

    Worker processes have their own copies, whose records are not collected here.

    Args:
        policy: "fail" to raise the `InputError` that names the image; "skip" to record the image,
            so that the pipelines continue without it.

    Raises:
        InputError: the policy is unknown.
    """

    def __init__(self, policy: str = "fail"):
        if policy not in _POLICIES:
            raise unknown_name("policy for bad images", policy, _POLICIES)
        self.policy = policy
        self._names: dict[str, None] = {}

    @property
    def names(self) -> list[str]:
        """The unreadable images, sorted and each once: the file, or the index in the split."""
        return sorted(self._names.copy())

    def restore(self, names: Iterable[str]) -> None:
        """Adds the images that an earlier process recorded."""
        self._names.update(dict.fromkeys(names))

    def handle(self, error: InputError) -> None:
        """Records the image that the error is about, or raises the error."""
        if self.policy == "fail" or isinstance(error, ImpossibleLabel):
            raise error
        # Threads need no lock, which could not be sent to worker processes: setting an item of a
        # dict and copying a dict are atomic.
        self._names[getattr(error, "image_name", str(error))] = None
