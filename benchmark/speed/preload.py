"""What the server imports from which ``Alone`` forks: all that a job needs. It computes nothing."""

import gc
from contextlib import suppress

import torch._dynamo  # noqa: F401 - torch's optimisers import it at their first use, in a second

import benchmark.speed.alone  # noqa: F401 - with all that jobs need
from benchmark.errors import UserError
from benchmark.registry import load_installed_plugins

with suppress(UserError):  # the job will say what is wrong
    load_installed_plugins()
# Each job collects garbage before its network is built: what is there by now stays, and need not be looked through.
gc.collect()
gc.freeze()
