"""What to do about images that cannot be read, and a record of them."""

from collections.abc import Iterable

from keras_deit.core.errors import InputError, unknown_name

_POLICIES = ("fail", "skip")


class BadImages:
    """The unreadable images met, and what is done when one is.

    Unreadable is what its source or its decoder refuses with an `InputError`: a file that is
    missing, cut short or no image. A JPEG that is damaged inside but has its end is decoded, damage
    and all, as it is without this class.

    Worker processes have copies of their own: what these record is not known here.

    Args:
        policy: "fail" raises the `InputError` that names the image; "skip" records it, and the
            pipelines go on without it.

    Raises:
        InputError: unknown policy.
    """

    def __init__(self, policy: str = "fail"):
        if policy not in _POLICIES:
            raise unknown_name("policy for bad images", policy, _POLICIES)
        self.policy = policy
        self._names: dict[str, None] = {}

    @property
    def names(self) -> list[str]:
        """Each unreadable image once, sorted: its file, or its place in its split."""
        return sorted(self._names.copy())

    def restore(self, names: Iterable[str]) -> None:
        """Records images that an earlier process has met."""
        self._names.update(dict.fromkeys(names))

    def handle(self, error: InputError) -> None:
        """Records the image that the error is about, or raises the error."""
        if self.policy == "fail":
            raise error
        # Storing in a dict and copying one are atomic, so the reading threads need no lock, which
        # could not be sent to worker processes.
        self._names[getattr(error, "image_name", str(error))] = None
