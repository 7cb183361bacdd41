"""A weighting with a bug."""

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("raises")
class Raises(Weighting):
    """Asks for a task that is not there."""

    def weights(self, losses):
        return {}["depth"]
