"""What one training step does before the optimiser's: losses, and every parameter's gradient.

There is one class per kind of need that a weighting can declare, none per weighting.
"""
