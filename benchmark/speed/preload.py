"""What the server imports from which ``Alone`` forks: all that a job needs. It computes nothing."""

import gc

import torch._dynamo  # noqa: F401 - torch's optimisers import it at their first use, in a second

import benchmark.speed.alone  # noqa: F401 - with all that jobs need

# Each job collects garbage before its network is built: what is there by now stays, and need not be looked through.
gc.collect()
gc.freeze()
