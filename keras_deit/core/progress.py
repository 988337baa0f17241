"""How far a long task has come: a bar on a terminal, and lines where the output is a file."""

import logging
import sys
import time

import tqdm

from keras_deit.core.processes import is_writer

# What is printed during a training also goes to the handlers of this logger, such as the log file
# of a run. It is none of the parents' handlers' business, which print.
progress_logger = logging.getLogger(__name__)
progress_logger.setLevel(logging.INFO)
progress_logger.propagate = False

# Seconds from one line to the next. What takes less has no line.
_SECONDS_PER_LINE = 30.0
_SECONDS_PER_REFRESH = 0.5


def say(line: str, trains: bool = False) -> None:
    """Records a line about the progress of a task, and prints it where no bar can be seen.

    Args:
        line: without a newline.
        trains: whether it is about steps of a training.
    """
    if is_writer():
        progress_logger.info(line, extra={"trains": trains})
        if not on_terminal():
            print(line, file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Returns whether a bar on stderr can be seen; a service may have no stderr at all."""
    return sys.stderr is not None and sys.stderr.isatty()


class Progress:
    """The progress of one task; a context that closes the bar at its end.

    On a terminal it is a bar. Anywhere else, such as in a file, it is a line every 30 seconds:
    thousands of updates of a bar would hide everything else there.

    Args:
        title: what is done.
        total: how many parts the task has.
        unit: what they are, in the singular.
        done: how many of them are done already.
        trains: as for `say`.
    """

    def __init__(self, title: str, total: int, unit: str, done: int = 0, trains: bool = False):
        self._title, self._total, self._unit, self._trains = title, total, unit, trains
        self._done, self._figures = done, ""
        self._first = done
        self._start = self._said = time.monotonic()
        self._bar = None
        if is_writer() and on_terminal():
            self._bar = tqdm.tqdm(
                total=total,
                initial=done,
                desc=title,
                unit=unit,
                mininterval=_SECONDS_PER_REFRESH,
                smoothing=0.1,
            )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._bar is not None:
            self._bar.close()

    def set_total(self, total: int) -> None:
        """Sets how many parts the task has."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total

    def show(self, figures: dict[str, str]) -> None:
        """Sets the figures that are shown beside the progress, by name."""
        self._figures = "".join(f", {name} {value}" for name, value in figures.items())
        if self._bar is not None:
            self._bar.set_postfix(figures, refresh=False)

    def update(self, count: int = 1) -> None:
        """Counts parts that are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        now = time.monotonic()
        if now - self._said >= _SECONDS_PER_LINE:
            self._said = now
            rate = (self._done - self._first) / (now - self._start)
            say(
                f"{self._title}: {self._done:,} of {self._total:,} {_plural(self._unit)}"
                f"{self._figures}, {rate:.3g} {_plural(self._unit)}/s",
                self._trains,
            )


def _plural(unit: str) -> str:
    return f"{unit}es" if unit.endswith("ch") else f"{unit}s"
