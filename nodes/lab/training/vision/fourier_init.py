"""Initialisation of a patch embedding with a Fourier basis.

From random weights the direction of fine rows is hard to learn: a stripe adds little to a random sum of a
patch's pixels, compared with the patch's colour. A Fourier basis has each wave in two phases, and the network
only has to learn which of them matter. The embedding is then trained like any other weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

_MOST_CYCLES = 5.0  # per patch; fewer on a small patch, whose waves have at least _LEAST_PX
_LEAST_PX = 2.2
_COLOUR_CYCLES = 1.5
_MEAN_GAIN, _WAVE_GAIN = 0.1, 0.5
_COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))  # luminance, and two contrasts
_RANDOM = 0.02  # standard deviation, as in transformers


def initialise_fourier(weight: Tensor) -> None:
    """Initialise the rows of a patch embedding with waves of rising frequency; further rows are random.

    Args:
        weight: [dim, 3, slices, patch, patch], changed in place.
    """
    side = weight.shape[-1]
    with torch.no_grad():
        weight.normal_(0.0, _RANDOM)
        for row, wave in zip(range(weight.shape[0]), _fourier_filters(side), strict=False):
            weight[row] = wave[:, None] / math.sqrt(weight.shape[2])


def _fourier_filters(side: int) -> Iterator[Tensor]:
    """Yield filters [3, side, side]: means, then waves in two phases, luminance before colour."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for colour in _COLOURS:
        yield _normalised(torch.ones(side, side), colour) * _MEAN_GAIN
    every = _frequencies(min(_MOST_CYCLES, side / _LEAST_PX))
    slow = [pair for pair in every if math.hypot(*pair) <= _COLOUR_CYCLES]
    for colours, pairs in ((_COLOURS[:1], every), (_COLOURS[1:], slow)):
        for across, down in pairs:
            phase = 2 * math.pi * (across * (x + 0.5) + down * (y + 0.5)) / side
            for wave in (torch.cos(phase), torch.sin(phase)):
                for colour in colours:
                    yield _normalised(wave, colour) * _WAVE_GAIN


def _frequencies(most_cycles: float) -> list[tuple[int, int]]:
    """Return cycles across and down a patch by rising frequency; opposite directions are one wave."""
    most = int(most_cycles)
    every = [(across, down) for across in range(most + 1) for down in range(-most, most + 1)]
    distinct = [(a, d) for a, d in every if (a > 0 or d > 0) and math.hypot(a, d) <= most_cycles]
    return sorted(distinct, key=lambda pair: (math.hypot(*pair), pair))


def _normalised(wave: Tensor, colour: tuple[float, float, float]) -> Tensor:
    filters = torch.tensor(colour)[:, None, None] * wave
    whole: Tensor = filters / filters.norm()
    return whole
