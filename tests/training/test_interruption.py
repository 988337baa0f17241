"""Signals are recorded during a training, and have their usual effect outside of it."""

import os
import signal
import threading

import pytest

from keras_deit.training.interruption import Interruption


@pytest.fixture
def usual():
    """Collects the signals that the handlers of before receive."""
    received = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda number, frame: received.append(number))
    yield received
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_recorded_and_the_second_has_its_usual_effect(number, usual):
    interruption = Interruption()
    with interruption.active():
        assert interruption.received() is None
        os.kill(os.getpid(), number)
        assert interruption.received() == number and usual == []
        os.kill(os.getpid(), number)
        assert usual == [number]
    os.kill(os.getpid(), number)
    assert usual == [number, number]


def test_outside_of_the_main_thread_signals_keep_their_effect(usual):
    entered = []

    def run():
        with Interruption().active():
            entered.append(signal.getsignal(signal.SIGTERM))

    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert entered == [handler]
