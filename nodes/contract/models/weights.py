"""Number and size of the weights in a model's folder, by the headers of its files."""

from __future__ import annotations

import json
import math
from pathlib import Path

from nodes.contract.models.options import CPU, ModelOptions

MOST_HEADER_BYTES = 100_000_000
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_QUANTISED_BYTES = {"int8": 1.0, "nf4": 0.5}


def weights_of(folder: Path) -> int:
    """Return the number of weights in a folder's safetensors files; 0 for a hub name."""
    return sum(_numbers_in(path) for path in folder.glob("*.safetensors")) if folder.is_dir() else 0


def weight_bytes(options: ModelOptions) -> float:
    """Return the memory that one weight takes once it is loaded.

    Quantised weights are taken for all of them, although embeddings keep their type. A type that is as saved
    is taken for one of 16 bits.
    """
    if options.quantisation is not None:
        return _QUANTISED_BYTES[options.quantisation]
    return _BYTES[options.dtype or ("float32" if options.kind == CPU else "bfloat16")]


def _numbers_in(path: Path) -> int:
    """Return the number of numbers in a safetensors file, by its header."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(min(MOST_HEADER_BYTES, int.from_bytes(file.read(8), "little"))))
        return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0  # the program that loads it says what is wrong
