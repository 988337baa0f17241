"""Being asked to stop, by SIGTERM or by Ctrl-C."""

import contextlib
import itertools
import os
import signal
import threading

from keras_deit.distillation.execution import process_share
from keras_deit.training.devices.processes import all_stop


class Stopped(BaseException):
    """A training stopped because it was asked to, and kept everything.

    Not an `Exception`: what handles errors must not take it for one.

    Args:
        signal_number: of the signal.
        message: one line for the user.
    """

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number


# Of one process after another training, too, JAX wants to be asked with numbers that grow.
_MOMENTS = itertools.count()


class Interruption:
    """Remembers SIGTERM and SIGINT while it is watching, instead of dying of them.

    A second signal acts as it does without it. Where several JAX processes train together, a
    signal to one of them stops them all, after the same step.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self._received: int | None = None
        self._several = process_share()[1] > 1

    def received(self) -> int | None:
        """The number of the signal; None for none. To be asked equally often by all processes."""
        if not self._several:
            return self._received
        if all_stop(next(_MOMENTS)):
            return self._received or signal.SIGTERM
        return None

    @contextlib.contextmanager
    def watching(self):
        """The context in which the signals are remembered; nothing happens off the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        # SIGTERM is JAX's own, where there are several processes.
        signals = self._SIGNALS[self._several :]
        before = {number: signal.getsignal(number) for number in signals}

        def remember(number, frame):
            self._received = number
            signal.signal(number, before[number])
            if self._several:
                os.kill(os.getpid(), signal.SIGTERM)

        for number in signals:
            signal.signal(number, remember)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
