import os
import signal

import pytest

from bigearth.learn import signals


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_signal_is_noted_not_fatal_and_ignored_afterwards(number):
    previous = signal.getsignal(number)
    with signals.StopRequest().listening():
        pass
    assert signal.getsignal(number) == previous
    try:
        with signals.StopRequest().listening() as request:
            assert not request.received
            os.kill(os.getpid(), number)
            assert request.received
        # mpirun forwards a signal twice; the second must not kill the rank that has just saved
        os.kill(os.getpid(), number)
    finally:
        signal.signal(number, previous)
