"""Writing files."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def whole_or_not_at_all(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a name to write to; what was written there becomes `path` at the end.

    Where the block raises, `path` is what it was before.
    """
    # In front: what a file is called at its end says its format.
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
