"""When a timing run has measured long enough (`--interval`)."""

from typing import Optional

from bigearth import intervals

WARM_UP = 5  # first steps of a job: tracing, choice of convolutions, reading ahead


class Measuring:
    """Counts the times of this rank's steps until their mean is known well enough.

    Args:
        width: wanted half-width of the 95 % interval of the mean, relative to it; None: never
            enough.
        least, most: fewest and most steps; after `most` it is enough in any case.

    Attributes:
        enough: whether to stop.
    """

    def __init__(self, width: Optional[float], least: int = 30, most: int = 1000):
        self._width, self._least, self._most = width, least, most
        self._seen, self._seconds, self._look = 0, [], None
        self.enough = False

    def add(self, seconds: float) -> None:
        """A step took this long."""
        self._seen += 1
        if self._width is None or self.enough or self._seen <= WARM_UP:
            return
        self._seconds.append(seconds)
        self._look = intervals.enough(self._seconds, self._width, self._least, most=self._most)
        self.enough = self._look.enough

    def facts(self) -> Optional[dict]:
        """What was wanted and found, for the record; None where nothing was wanted or the run
        ended before.

        Returns:
            {wanted, least, most, steps, step_time: their mean in s, interval: of it, or None,
            narrow: whether it is as narrow as wanted}.
        """
        if not self.enough:
            return None
        return {
            "wanted": self._width,
            "least": self._least,
            "most": self._most,
            "steps": len(self._seconds),
            "step_time": sum(self._seconds) / len(self._seconds),
            "interval": self._look.interval,
            "narrow": bool(self._look.narrow),
        }
