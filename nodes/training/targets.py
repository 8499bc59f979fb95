"""What each image token should know: dense truths beside the answers.

Without them models of this size stay at the level of guessing for a long time. They are kinds of fine content
under a token, centres of ships and crowns in it, the direction of rows; and on an overview, where a token
stands for a cell of the grid of `frames`, land cover and clouds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nodes.eo_mini.ground import COVERS
from nodes.eo_mini.windows import DIRECTIONS
from nodes.training.frames import Content
from nodes.training.turns import turned, turned_direction

Floats = NDArray[np.float32]
KINDS = ("none", "ships", "rows", "crowns")
_HALF_PLOT_PX = 23.0
_CENTRE_WEIGHT = 12.0  # there are few centres among many tokens


@dataclass(frozen=True)
class Truths:
    """One view's truths; arrays [tokens, ...], row by row.

    `kinds`: shares of KINDS under each token. `centres`: of ships and of crowns, 0 or 1. `rows`: shares of
    no rows and of DIRECTIONS. `cover`, `cloud`: of an overview, else None.
    """

    kinds: Floats
    centres: Floats
    rows: Floats
    cover: Floats | None = None
    cloud: Floats | None = None


def truths_of(
    contents: Sequence[Content],
    box_px: tuple[int, int, int, int],
    tokens: int,
    turn: int,
    ground: tuple[Floats, Floats] | None = None,
) -> Truths:
    """Truths of the view that shows `box_px` of a frame with `tokens` tokens a side, after a turn.

    Args:
        ground: cover and cloud under each token before the turn, [tokens, tokens, ...]; None: not known.
    """
    left, upper, right, _ = box_px
    token_px = (right - left) / tokens
    kinds = np.zeros((tokens, tokens, len(KINDS)), dtype=np.float32)
    centres = np.zeros((tokens, tokens, 2), dtype=np.float32)
    rows = np.zeros((tokens, tokens, 1 + len(DIRECTIONS)), dtype=np.float32)
    for content in contents:
        in_view = [(edge - (left, upper)[n % 2]) / token_px for n, edge in enumerate(content.box_px)]
        kinds[..., KINDS.index(content.kind)] += _overlap(in_view, tokens)
        for x_px, y_px, what in content.spots:
            x, y = (x_px - left) / token_px, (y_px - upper) / token_px
            if what in DIRECTIONS:
                half = _HALF_PLOT_PX / token_px
                share = _overlap([x - half, y - half, x + half, y + half], tokens)
                rows[..., 1 + DIRECTIONS.index(turned_direction(what, turn))] += share
            elif 0 <= x < tokens and 0 <= y < tokens:
                centres[int(y), int(x), ("ships", "crowns").index(what)] = 1.0
    kinds[..., 0] = np.maximum(0, 1 - kinds.sum(-1))
    rows[..., 0] = np.maximum(0, 1 - rows.sum(-1))

    def flat(values: Floats) -> Floats:
        return turned(values, turn).reshape(tokens * tokens, -1)

    cover, cloud = (None, None) if ground is None else map(flat, ground)
    return Truths(flat(kinds), flat(centres), flat(rows), cover, cloud)


def _overlap(box: Sequence[float], tokens: int) -> Floats:
    """[tokens, tokens]: the share of each token that lies in a box; coordinates in tokens."""
    left, upper, right, lower = box
    starts = np.arange(tokens)
    across = np.clip(np.minimum(right, starts + 1) - np.maximum(left, starts), 0, 1)
    down = np.clip(np.minimum(lower, starts + 1) - np.maximum(upper, starts), 0, 1)
    return np.asarray(down[:, None] * across[None, :], dtype=np.float32)


def in_box(content: Content, box_px: tuple[int, int, int, int]) -> bool:
    """Whether a view of `box_px` shows the whole content."""
    left, upper, right, lower = content.box_px
    return left >= box_px[0] and upper >= box_px[1] and right <= box_px[2] and lower <= box_px[3]


class DenseHeads(nn.Module):
    """Reads the truths out of image tokens; thrown away after the training."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sizes = (len(KINDS), 2, 1 + len(DIRECTIONS), len(COVERS), 1)
        self.read = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, sum(self.sizes)))

    def losses(self, features: Tensor, truths: Sequence[Truths]) -> dict[str, Tensor]:
        """Mean losses; `features` [tokens of all views, dim] in the order of `truths`."""
        device = features.device
        kinds, centres, rows, cover, cloud = self.read(features).split(self.sizes, dim=-1)
        seen = _stacked([one.kinds for one in truths], device)
        losses = {"kinds": functional.cross_entropy(kinds, seen)}
        native = np.concatenate([np.full(len(one.kinds), one.cover is None) for one in truths])
        if native.any():
            where = torch.from_numpy(native).to(device)
            wanted = _stacked([one.centres for one in truths], device)[where]
            weights = torch.where(wanted > 0, _CENTRE_WEIGHT, 1.0)
            losses["centres"] = functional.binary_cross_entropy_with_logits(centres[where], wanted, weights)
            losses["rows"] = _rows_loss(rows[where], _stacked([one.rows for one in truths], device)[where])
        if not native.all():
            where = torch.from_numpy(~native).to(device)
            covers = [one.cover for one in truths if one.cover is not None]
            clouds = [one.cloud for one in truths if one.cloud is not None]
            losses["cover"] = functional.cross_entropy(cover[where], _stacked(covers, device))
            losses["cloud"] = functional.binary_cross_entropy_with_logits(
                cloud[where], _stacked(clouds, device)
            )
        return losses


def _rows_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy in which the few tokens with rows count as much as all others."""
    planted = 1 - wanted[:, 0]
    weights = planted / planted.sum().clamp(min=1e-6) + wanted[:, 0] / wanted[:, 0].sum().clamp(min=1e-6)
    return (functional.cross_entropy(logits, wanted, reduction="none") * weights).sum() / 2


def _stacked(arrays: Sequence[Floats], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays)).to(device)
