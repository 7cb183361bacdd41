"""A weighting that ends the program."""

import sys

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("leaves")
class Leaves(Weighting):
    """Ends the program where it does not like the losses."""

    def weights(self, losses):
        sys.exit("these losses are not for me")
