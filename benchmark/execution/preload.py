"""What the server imports from which workers are forked: all that a run needs.

It computes nothing: a process that has used several threads, or a GPU, cannot be forked safely. Failures are left to
the workers, who import what is missing, and say what is wrong.
"""

import gc
from contextlib import suppress

import torch._dynamo  # noqa: F401 - torch's optimisers import it at their first use, in a second

import benchmark.execution.apart  # with all that runs need
import benchmark.execution.sharing  # noqa: F401 - likewise
from benchmark.errors import UserError
from benchmark.registry import load_installed_plugins
from benchmark.training.provenance import code_hash, git_state

with suppress(UserError):
    load_installed_plugins()
# Remembered from here on: records and checkpoints of every worker name the code that was loaded here.
git_state()
code_hash()
# Collections of garbage in a worker leave alone what is there by now, and so share its memory with other workers.
gc.collect()
gc.freeze()
