"""The log file of a run: what a training says, with the time."""

import contextlib
import logging
import pathlib
import sys
import traceback
from collections.abc import Iterator

from keras_deit.core.errors import InputError
from keras_deit.core.processes import is_writer
from keras_deit.core.progress import progress_logger
from keras_deit.training.interruption import Stopped
from keras_deit.version import __version__


class LogFile(logging.Handler):
    """Appends lines to a file, once something is trained; until then it keeps them.

    So a command that is refused leaves no directory behind. If the file cannot be written, the
    training goes on without: a full disk is found by the next checkpoint, which says so.

    Args:
        path: path of the file.
    """

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self._path = path
        self._kept: list[str] | None = []

    def start(self) -> None:
        """Writes what was kept, and from now on every line at once."""
        kept, self._kept = self._kept, None
        if kept:
            self._write("".join(kept))

    def emit(self, record):
        if self._kept is not None and getattr(record, "trains", False):
            self.start()
        if self._kept is None:
            self._write(f"{self.format(record)}\n")
        else:
            self._kept.append(f"{self.format(record)}\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)


@contextlib.contextmanager
def log_file(path: pathlib.Path) -> Iterator[LogFile]:
    """Appends what is said during the block, warnings and the error that ends it to a file.

    Only the process that writes files does so.

    Args:
        path: path of the file.
    """
    handler = LogFile(path)
    warnings_logger = logging.getLogger("keras_deit")
    handlers = [(progress_logger, handler), (warnings_logger, handler)]
    if not warnings_logger.hasHandlers():
        # Python prints warnings only as long as nobody handles them.
        handlers.append((warnings_logger, logging.lastResort))
    for logger, added in handlers if is_writer() else ():
        logger.addHandler(added)
    progress_logger.info(f"keras-deit {__version__}: {' '.join(sys.argv)}")
    try:
        yield handler
    except (InputError, Stopped) as error:
        progress_logger.info(f"{'error: ' * isinstance(error, InputError)}{error}")
        raise
    except BaseException:
        progress_logger.info(traceback.format_exc().rstrip())
        raise
    finally:
        for logger, added in handlers:
            logger.removeHandler(added)
