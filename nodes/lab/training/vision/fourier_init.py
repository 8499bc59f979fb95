"""Starts a patch embedding as waves: what a vision tower otherwise takes long to find.

From random weights the direction of fine rows was not learnt in 1,500 steps: a stripe adds little to a random
sum of a patch's pixels beside the patch's colour. As a Fourier basis the same embedding has each wave in two
phases, and the rest of the network only has to learn which of them matter. It is trained on like any weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

_MOST_CYCLES = 5.0  # per patch; of a small one fewer fit, as a wave has at least 2.2 px
_LEAST_PX = 2.2
_COLOUR_CYCLES = 1.5
_MEAN_GAIN, _WAVE_GAIN = 0.1, 0.5
_COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))  # luminance, and two contrasts
_RANDOM = 0.02  # as transformers starts them all


def start_as_waves(weight: Tensor) -> None:
    """Write waves into as many rows of a patch embedding as it has, the slowest first; the rest is random.

    Args:
        weight: [dim, 3, slices, patch, patch], changed in place.
    """
    side = weight.shape[-1]
    with torch.no_grad():
        weight.normal_(0.0, _RANDOM)
        for row, wave in zip(range(weight.shape[0]), _waves(side), strict=False):
            weight[row] = wave[:, None] / math.sqrt(weight.shape[2])


def _waves(side: int) -> Iterator[Tensor]:
    """Filters [3, side, side] of one length: means, then waves in two phases, luminance before colour."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for colour in _COLOURS:
        yield _of_one_length(torch.ones(side, side), colour) * _MEAN_GAIN
    every = _frequencies(min(_MOST_CYCLES, side / _LEAST_PX))
    slow = [pair for pair in every if math.hypot(*pair) <= _COLOUR_CYCLES]
    for colours, pairs in ((_COLOURS[:1], every), (_COLOURS[1:], slow)):
        for across, down in pairs:
            turns = 2 * math.pi * (across * (x + 0.5) + down * (y + 0.5)) / side
            for wave in (torch.cos(turns), torch.sin(turns)):
                for colour in colours:
                    yield _of_one_length(wave, colour) * _WAVE_GAIN


def _frequencies(most_cycles: float) -> list[tuple[int, int]]:
    """Cycles across and down a patch, the slowest first; of opposite ones, which are one wave, the first."""
    most = int(most_cycles)
    every = [(across, down) for across in range(most + 1) for down in range(-most, most + 1)]
    kept = [(a, d) for a, d in every if (a > 0 or d > 0) and math.hypot(a, d) <= most_cycles]
    return sorted(kept, key=lambda pair: (math.hypot(*pair), pair))


def _of_one_length(wave: Tensor, colour: tuple[float, float, float]) -> Tensor:
    filters = torch.tensor(colour)[:, None, None] * wave
    whole: Tensor = filters / filters.norm()
    return whole
