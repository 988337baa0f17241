"""Being asked to stop, by SIGTERM or by Ctrl-C."""

import contextlib
import os
import signal
import threading


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


class Interruption:
    """Remembers SIGTERM and SIGINT while it is watching, instead of dying of them.

    A second signal acts as it does without it.

    Attributes:
        received: the number of the signal; None for none.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.received: int | None = None
        self._leaving = False

    def leave_later(self, seconds: float) -> None:
        """Ends the process of itself after a while, with the exit code of the signal."""
        if not self._leaving:
            self._leaving = True
            timer = threading.Timer(seconds, os._exit, (128 + self.received,))
            timer.daemon = True
            timer.start()

    @contextlib.contextmanager
    def watching(self):
        """The context in which the signals are remembered; nothing happens off the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in self._SIGNALS}

        def remember(number, frame):
            self.received = number
            signal.signal(number, before[number])

        for number in self._SIGNALS:
            signal.signal(number, remember)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
