"""A weighting as it should be, for runs among all these."""

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("innocent")
class Innocent(Weighting):
    """Weights in proportion to the losses."""

    def weights(self, losses):
        return len(losses) * losses.detach() / losses.detach().sum()
