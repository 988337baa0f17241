"""Ctrl-C and SIGTERM while a command runs: acknowledged at once, in whatever phase it is.

Python calls the handler of a signal when the main thread is back in Python code, which a
compilation by XLA can put off by half a minute. A thread is told of a signal at once.
"""

import os
import signal
import threading
from collections.abc import Callable

from keras_deit.training import Stopped
from keras_deit.training.interruption import is_recording

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
# An answer that comes sooner needs no acknowledgment.
_PATIENCE = 0.2
# A library may swallow an exception that is raised inside one of its own callbacks.
_DEADLINE = 10.0


def handle_signals(resumes: bool, end: Callable[[str, int], None]) -> None:
    """Makes Ctrl-C and SIGTERM end this process with one line.

    In the steps of a training they are recorded instead, see `Interruption`. A second signal ends
    the process at once.

    Args:
        resumes: whether the same command goes on where this one is stopped.
        end: prints a line and ends the process with an exit code.
    """
    goes_on = " The same command goes on from there." if resumes else ""
    lines = {signal.SIGINT: f"Interrupted.{goes_on}", signal.SIGTERM: f"Terminated.{goes_on}"}

    def stop(number, frame):
        raise Stopped(number, lines[number])

    def watch():
        received = set()
        while numbers := os.read(reader, 1):
            number = signal.Signals(numbers[0])
            if number in lines:
                _answer(number, number in received, lines[number], end)
                received.add(number)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in lines:
        signal.signal(number, stop)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()


def ignore_signals() -> None:
    """Keeps further signals from disturbing the end of the process."""
    if threading.current_thread() is threading.main_thread():
        for number in _NAMES:
            signal.signal(number, signal.SIG_IGN)


def _answer(number: int, again: bool, line: str, end: Callable[[str, int], None]) -> None:
    """Acknowledges a signal, and ends the process if the main thread may not be able to."""
    code = 128 + number
    if again:
        end(line, code)
    acknowledge = threading.Timer(_PATIENCE, _write, (_acknowledgment(number),))
    deadline = threading.Timer(_DEADLINE, end, (line, code))
    for timer in (acknowledge,) if is_recording() else (acknowledge, deadline):
        timer.daemon = True
        timer.start()


def _acknowledgment(number: int) -> str:
    return (
        f"\n{_NAMES[number]} received: stopping as soon as the present step or compilation is "
        "done. A second one stops at once.\n"
    )


def _write(text: str) -> None:
    # Below Python's buffers, whose lock the main thread may hold.
    os.write(2, text.encode())
