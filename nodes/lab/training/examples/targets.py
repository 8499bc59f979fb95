"""What each image token should know: dense truths beside the answers.

Without them models of this size stay at the level of guessing for a long time. They are kinds of fine content
under a token, centres of ships and crowns in it, the direction of rows; and on an overview, where a token
stands for a cell of the grid of `frames`, land cover and clouds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nodes.lab.eo_mini.ground import COVERS
from nodes.lab.eo_mini.windows import DIRECTIONS
from nodes.lab.training.examples.augmentation import TURNS, turned_direction, turned_views
from nodes.lab.training.examples.frames import Content

Floats = NDArray[np.float32]
KINDS = ("none", "ships", "rows", "crowns")
COUNTED = ("ships", "crowns")
_HALF_PLOT_PX = 23.0
_ELSEWHERE = 0.02  # weight of a token without content: of a frame's there are twenty times as many
_ROWS_WEIGHT = 3.0  # alone they are learnt in 50 steps, among the others with weight 1 in 1,000


@dataclass(frozen=True)
class Truths:
    """Truths of views of one size: float32[views, rows, columns, ...] of tokens.

    `kinds`: shares of KINDS under each token. `centres`: whether it holds one, of COUNTED. `rows`: shares of
    no rows and of DIRECTIONS. `cover`, `cloud`: of overviews, else None.
    """

    kinds: Tensor
    centres: Tensor
    rows: Tensor
    cover: Tensor | None = None
    cloud: Tensor | None = None

    @staticmethod
    def stacked(several: Sequence[Truths]) -> Truths:
        """All views of several truths."""
        covers, clouds = [one.cover for one in several], [one.cloud for one in several]
        return Truths(
            torch.cat([one.kinds for one in several]),
            torch.cat([one.centres for one in several]),
            torch.cat([one.rows for one in several]),
            torch.cat([one for one in covers if one is not None]) if covers[0] is not None else None,
            torch.cat([one for one in clouds if one is not None]) if clouds[0] is not None else None,
        )

    def turned(self, turn: int) -> Truths:
        """After each view was turned."""
        after = self._each(lambda values: turned_views(values, turn))
        return Truths(
            after.kinds, after.centres, after.rows[..., _ROWS_AFTER[turn]], after.cover, after.cloud
        )

    def rolled(self, down: int, across: int) -> Truths:
        """After each view was shifted by tokens; what leaves it comes back at the other edge."""
        return self._each(lambda values: values.roll((down, across), dims=(1, 2)))

    def cut(self, side: int) -> Truths:
        """Of the upper left `side` x `side` tokens of each view."""
        return self._each(lambda values: values[:, :side, :side])

    def picked(self, views: Tensor) -> Truths:
        """Of some views."""
        return self._each(lambda values: values[views])

    def to(self, device: str) -> Truths:
        """On a device."""
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Truths:
        return Truths(
            change(self.kinds),
            change(self.centres),
            change(self.rows),
            None if self.cover is None else change(self.cover),
            None if self.cloud is None else change(self.cloud),
        )


def _rows_after(turn: int) -> list[int]:
    """Of each channel of `rows` after a turn, which one it was."""
    after = [turned_direction(direction, turn) for direction in DIRECTIONS]
    return [0, *(1 + after.index(direction) for direction in DIRECTIONS)]


_ROWS_AFTER = [_rows_after(turn) for turn in range(TURNS)]


def truths_of(
    contents: Sequence[Content],
    box_px: tuple[int, int, int, int],
    tokens: int,
    ground: tuple[Floats, Floats] | None = None,
) -> Truths:
    """Truths of one view, which shows `box_px` of a frame with `tokens` tokens a side.

    Args:
        ground: cover and cloud under each token, [tokens, tokens, ...]; None: not known.
    """
    left, upper, right, _ = box_px
    token_px = (right - left) / tokens
    kinds = np.zeros((tokens, tokens, len(KINDS)), dtype=np.float32)
    centres = np.zeros((tokens, tokens, len(COUNTED)), dtype=np.float32)
    rows = np.zeros((tokens, tokens, 1 + len(DIRECTIONS)), dtype=np.float32)
    for content in contents:
        in_view = [(edge - (left, upper)[n % 2]) / token_px for n, edge in enumerate(content.box_px)]
        kinds[..., KINDS.index(content.kind)] += _overlap(in_view, tokens)
        for x_px, y_px, what in content.spots:
            x, y = (x_px - left) / token_px, (y_px - upper) / token_px
            if what in DIRECTIONS:
                half = _HALF_PLOT_PX / token_px
                share = _overlap([x - half, y - half, x + half, y + half], tokens)
                rows[..., 1 + DIRECTIONS.index(what)] += share
            elif 0 <= x < tokens and 0 <= y < tokens:
                centres[int(y), int(x), COUNTED.index(what)] = 1.0
    kinds[..., 0] = np.maximum(0, 1 - kinds.sum(-1))
    rows[..., 0] = np.maximum(0, 1 - rows.sum(-1))
    cover, cloud = (None, None) if ground is None else (torch.from_numpy(one)[None] for one in ground)
    return Truths(
        torch.from_numpy(kinds)[None],
        torch.from_numpy(centres)[None],
        torch.from_numpy(rows)[None],
        cover,
        cloud,
    )


def _overlap(box: Sequence[float], tokens: int) -> Floats:
    """[tokens, tokens]: the share of each token that lies in a box; coordinates in tokens."""
    left, upper, right, lower = box
    starts = np.arange(tokens)
    across = np.clip(np.minimum(right, starts + 1) - np.maximum(left, starts), 0, 1)
    down = np.clip(np.minimum(lower, starts + 1) - np.maximum(upper, starts), 0, 1)
    return np.asarray(down[:, None] * across[None, :], dtype=np.float32)


class DenseHeads(nn.Module):
    """Reads the truths out of image tokens; thrown away after the training."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sizes = (len(KINDS), len(COUNTED), 1 + len(DIRECTIONS), len(COVERS), 1)
        self.read = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, sum(self.sizes)))

    def native_losses(self, features: Tensor, truths: Truths) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Mean losses of native views; and the shares of windows counted, and of rows named, rightly.

        Args:
            features: [views, tokens, dim].
        """
        kinds, centres, rows, _, _ = self.read(features.flatten(0, 1)).split(self.sizes, dim=-1)
        wanted, there = truths.kinds.flatten(0, 2), truths.centres.flatten(0, 2)
        weights = 1 - wanted[:, 0] + _ELSEWHERE
        weights = weights / weights.sum()
        losses = {
            "kinds": (functional.cross_entropy(kinds, wanted, reduction="none") * weights).sum(),
            "centres": (
                functional.binary_cross_entropy_with_logits(centres, there, reduction="none").sum(-1)
                * weights
            ).sum(),
            "rows": _ROWS_WEIGHT * _rows_loss(rows, truths.rows.flatten(0, 2)),
        }
        return losses, {
            "counted": _counted(centres.view(*features.shape[:2], -1), truths),
            "directed": _directed(rows, truths.rows.flatten(0, 2)),
        }

    def overview_losses(self, features: Tensor, truths: Truths) -> dict[str, Tensor]:
        """Mean losses of overviews; `features` [views, tokens, dim]."""
        kinds, _, _, cover, cloud = self.read(features.flatten(0, 1)).split(self.sizes, dim=-1)
        assert truths.cover is not None and truths.cloud is not None  # noqa: S101 - an overview's
        return {
            "places": functional.cross_entropy(kinds, truths.kinds.flatten(0, 2)),
            "cover": functional.cross_entropy(cover, truths.cover.flatten(0, 2)),
            "cloud": functional.binary_cross_entropy_with_logits(cloud, truths.cloud.flatten(0, 2)),
        }


def _rows_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy in which the few tokens with rows count as much as all others."""
    planted = 1 - wanted[:, 0]
    weights = planted / planted.sum().clamp(min=1e-6) + wanted[:, 0] / wanted[:, 0].sum().clamp(min=1e-6)
    return (functional.cross_entropy(logits, wanted, reduction="none") * weights).sum() / 2


def _counted(centres: Tensor, truths: Truths) -> Tensor:
    """Of the views that hold a counted kind, in how many as many centres are found as there are."""
    shows = torch.stack([truths.kinds[..., KINDS.index(kind)].amax((1, 2)) > 0 for kind in COUNTED], dim=-1)
    right = (centres.detach() > 0).sum(1) == truths.centres.sum((1, 2))
    return (right & shows).sum() / shows.sum().clamp(min=1)


def _directed(rows: Tensor, wanted: Tensor) -> Tensor:
    """Of the tokens that are mostly rows, how many have their direction."""
    planted = wanted[:, 1:].sum(-1) > 0.5
    right = rows.detach()[:, 1:].argmax(-1) == wanted[:, 1:].argmax(-1)
    return (right & planted).sum() / planted.sum().clamp(min=1)
