"""Steps replayed as CUDA graphs, and the check that a replayed step computes what the step itself does."""
