"""Digests of what was computed: two values have the same one where every bit of them is the same."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

#: Hexadecimal digits that are kept of a SHA-256.
DIGITS = 16


def digest(*values: Any) -> str:
    """Of tensors, arrays, numbers, texts and None, and mappings and lists of them, whatever their memory layout."""
    found = hashlib.sha256()
    for piece in _pieces(values):
        found.update(piece)
    return found.hexdigest()[:DIGITS]


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield from _pieces(value.detach().contiguous().numpy())
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{key}=".encode()
            yield from _pieces(item)
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}]".encode()
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, float):
        yield value.hex().encode()
    else:
        yield json.dumps(value).encode()
