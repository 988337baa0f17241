"""Stopping a training at SIGTERM or Ctrl-C."""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterator

from keras_deit.core.processes import preemption_reached, process_index_and_count


class Stopped(BaseException):
    """A training was stopped by a signal, after a checkpoint was written.

    It is not an `Exception`, so that nothing handles it as an error.

    Args:
        signal_number: number of the signal.
        message: one line for the user.
    """

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number


_recording = 0


def is_recording() -> bool:
    """Returns whether an `Interruption` of this process is active."""
    return _recording > 0


# JAX requires increasing numbers, also in the second training of a process.
_CHECKS = itertools.count()


class Interruption:
    """Records SIGTERM and SIGINT while it is active, instead of ending the process.

    A second signal has its usual effect. If several JAX processes train together, a signal to one
    of them stops all of them after the same step.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self._received: int | None = None
        self._several = process_index_and_count()[1] > 1

    def received(self) -> int | None:
        """Returns the number of the signal; None for none. All processes must call it equally
        often."""
        if not self._several:
            return self._received
        if preemption_reached(next(_CHECKS)):
            return self._received or signal.SIGTERM
        return None

    @contextlib.contextmanager
    def active(self) -> Iterator["Interruption"]:
        """Records signals during the block; outside of the main thread it does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        # With several processes JAX handles SIGTERM.
        signals = self._SIGNALS[self._several :]
        before = {number: signal.getsignal(number) for number in signals}

        def record(number, frame):
            self._received = number
            signal.signal(number, before[number])
            if self._several:
                os.kill(os.getpid(), signal.SIGTERM)

        global _recording
        for number in signals:
            signal.signal(number, record)
        _recording += 1
        try:
            yield self
        finally:
            _recording -= 1
            for number, handler in before.items():
                signal.signal(number, handler)
