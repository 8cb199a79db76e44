"""The signals that end a job early. Loads nothing heavy, so that a program can listen from its
first moment."""

import signal
from contextlib import contextmanager

# exit code of a run that was asked to stop and saved a checkpoint: submit the same job again
# (EX_TEMPFAIL)
REQUEUE = 75
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # what batch systems send before they kill


class Stopped(Exception):
    """Some rank was asked to stop: raised on all ranks at the same place of a run."""


class StopRequest:
    """Whether this process was asked to stop."""

    def __init__(self):
        self.received = False

    @contextmanager
    def listening(self):
        """Catches `SIGNALS` while the block runs; after one came they stay ignored, as launchers
        send some of them twice."""

        def receive(*_):
            self.received = True

        previous = {number: signal.signal(number, receive) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, signal.SIG_IGN if self.received else handler)
