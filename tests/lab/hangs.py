"""A weighting that never comes to an end, in two threads."""

import time
from pathlib import Path
from threading import Event, Thread

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("hangs")
class Hangs(Weighting):
    """Waits for itself, and leaves a thread behind."""

    def weights(self, losses):
        Thread(target=Event().wait).start()
        Path("asleep").touch()
        while True:
            time.sleep(1)
