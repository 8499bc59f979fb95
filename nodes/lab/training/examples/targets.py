"""Dense targets: auxiliary labels of each image token.

Without them models of this size stay at chance level for a long time. The labels are kinds of fine content,
centres of ships and crowns, and the direction of rows; and for an overview, whose tokens are the cells of the
grid of `frames`, land cover and clouds.
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
from nodes.lab.training.examples.augmentation import AUGMENTATIONS, augment_direction, augment_views
from nodes.lab.training.examples.frames import Content

Floats = NDArray[np.float32]
KINDS = ("none", "ships", "rows", "crowns")
COUNTED = ("ships", "crowns")
_HALF_PLOT_PX = 23.0
_ELSEWHERE = 0.02  # weight of a token without content, of which there are many more
_ROWS_WEIGHT = 3.0  # with weight 1 they are learnt much later than the others


@dataclass(frozen=True)
class DenseTargets:
    """Targets of views of one size, each float32[views, rows, columns, ...] over tokens.

    Attributes:
        kinds: Shares of KINDS.
        centres: Whether the token holds a centre, for each of COUNTED.
        rows: Shares of no rows and of DIRECTIONS.
        cover: Shares of land cover; None except for overviews.
        cloud: Opacity of clouds; None except for overviews.
    """

    kinds: Tensor
    centres: Tensor
    rows: Tensor
    cover: Tensor | None = None
    cloud: Tensor | None = None

    @staticmethod
    def stacked(parts: Sequence[DenseTargets]) -> DenseTargets:
        """Return the views of all parts."""
        covers, clouds = [part.cover for part in parts], [part.cloud for part in parts]
        return DenseTargets(
            torch.cat([part.kinds for part in parts]),
            torch.cat([part.centres for part in parts]),
            torch.cat([part.rows for part in parts]),
            torch.cat([cover for cover in covers if cover is not None]) if covers[0] is not None else None,
            torch.cat([cloud for cloud in clouds if cloud is not None]) if clouds[0] is not None else None,
        )

    def augment(self, augmentation: int) -> DenseTargets:
        """Return the targets after augmentation of each view."""
        after = self._each(lambda values: augment_views(values, augmentation))
        return DenseTargets(
            after.kinds,
            after.centres,
            after.rows[..., _AUGMENTED_ROWS[augmentation]],
            after.cover,
            after.cloud,
        )

    def rolled(self, down: int, across: int) -> DenseTargets:
        """Return the targets after a cyclic shift of each view by tokens."""
        return self._each(lambda values: values.roll((down, across), dims=(1, 2)))

    def cut(self, side: int) -> DenseTargets:
        """Return the targets of the upper left `side` x `side` tokens of each view."""
        return self._each(lambda values: values[:, :side, :side])

    def picked(self, views: Tensor) -> DenseTargets:
        """Return the targets of some views."""
        return self._each(lambda values: values[views])

    def to(self, device: str) -> DenseTargets:
        """Return the targets on a device."""
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> DenseTargets:
        return DenseTargets(
            change(self.kinds),
            change(self.centres),
            change(self.rows),
            None if self.cover is None else change(self.cover),
            None if self.cloud is None else change(self.cloud),
        )


def _augmented_rows(augmentation: int) -> list[int]:
    """Return the source channel of each channel of `rows` after augmentation."""
    after = [augment_direction(direction, augmentation) for direction in DIRECTIONS]
    return [0, *(1 + after.index(direction) for direction in DIRECTIONS)]


_AUGMENTED_ROWS = [_augmented_rows(augmentation) for augmentation in range(AUGMENTATIONS)]


def dense_targets(
    contents: Sequence[Content],
    box_px: tuple[int, int, int, int],
    tokens: int,
    cover_and_cloud: tuple[Floats, Floats] | None = None,
) -> DenseTargets:
    """Return the targets of one view.

    Args:
        contents: Fine contents of the frame.
        box_px: Box of the frame that the view shows.
        tokens: Tokens per side of the view.
        cover_and_cloud: Land cover and clouds of each token, [tokens, tokens, ...], if known.
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
    cover, cloud = (
        (None, None)
        if cover_and_cloud is None
        else (torch.from_numpy(shares)[None] for shares in cover_and_cloud)
    )
    return DenseTargets(
        torch.from_numpy(kinds)[None],
        torch.from_numpy(centres)[None],
        torch.from_numpy(rows)[None],
        cover,
        cloud,
    )


def _overlap(box: Sequence[float], tokens: int) -> Floats:
    """Return the share of each token in a box, [tokens, tokens]; coordinates are in tokens."""
    left, upper, right, lower = box
    starts = np.arange(tokens)
    across = np.clip(np.minimum(right, starts + 1) - np.maximum(left, starts), 0, 1)
    down = np.clip(np.minimum(lower, starts + 1) - np.maximum(upper, starts), 0, 1)
    return np.asarray(down[:, None] * across[None, :], dtype=np.float32)


class DenseHeads(nn.Module):
    """Auxiliary heads that predict dense targets from image tokens; discarded after training."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sizes = (len(KINDS), len(COUNTED), 1 + len(DIRECTIONS), len(COVERS), 1)
        self.read = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, sum(self.sizes)))

    def native_losses(
        self, features: Tensor, targets: DenseTargets
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the mean losses of native views, and the accuracies of counts and of directions.

        Args:
            features: [views, tokens, dim].
            targets: Their targets.
        """
        kinds, centres, rows, _, _ = self.read(features.flatten(0, 1)).split(self.sizes, dim=-1)
        wanted, there = targets.kinds.flatten(0, 2), targets.centres.flatten(0, 2)
        weights = 1 - wanted[:, 0] + _ELSEWHERE
        weights = weights / weights.sum()
        losses = {
            "kinds": (functional.cross_entropy(kinds, wanted, reduction="none") * weights).sum(),
            "centres": (
                functional.binary_cross_entropy_with_logits(centres, there, reduction="none").sum(-1)
                * weights
            ).sum(),
            "rows": _ROWS_WEIGHT * _rows_loss(rows, targets.rows.flatten(0, 2)),
        }
        return losses, {
            "counted": _counted(centres.view(*features.shape[:2], -1), targets),
            "directed": _directed(rows, targets.rows.flatten(0, 2)),
        }

    def overview_losses(self, features: Tensor, targets: DenseTargets) -> dict[str, Tensor]:
        """Return the mean losses of overviews; `features` are [views, tokens, dim]."""
        kinds, _, _, cover, cloud = self.read(features.flatten(0, 1)).split(self.sizes, dim=-1)
        assert targets.cover is not None and targets.cloud is not None  # noqa: S101 - an overview's
        return {
            "places": functional.cross_entropy(kinds, targets.kinds.flatten(0, 2)),
            "cover": functional.cross_entropy(cover, targets.cover.flatten(0, 2)),
            "cloud": functional.binary_cross_entropy_with_logits(cloud, targets.cloud.flatten(0, 2)),
        }


def _rows_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the cross-entropy with equal total weight for tokens with rows and all others."""
    planted = 1 - wanted[:, 0]
    weights = planted / planted.sum().clamp(min=1e-6) + wanted[:, 0] / wanted[:, 0].sum().clamp(min=1e-6)
    return (functional.cross_entropy(logits, wanted, reduction="none") * weights).sum() / 2


def _counted(centres: Tensor, targets: DenseTargets) -> Tensor:
    """Return the share of views with a counted kind whose number of predicted centres is correct."""
    shows = torch.stack([targets.kinds[..., KINDS.index(kind)].amax((1, 2)) > 0 for kind in COUNTED], dim=-1)
    right = (centres.detach() > 0).sum(1) == targets.centres.sum((1, 2))
    return (right & shows).sum() / shows.sum().clamp(min=1)


def _directed(rows: Tensor, wanted: Tensor) -> Tensor:
    """Return the share of correct directions among tokens that are mostly rows."""
    planted = wanted[:, 1:].sum(-1) > 0.5
    right = rows.detach()[:, 1:].argmax(-1) == wanted[:, 1:].argmax(-1)
    return (right & planted).sum() / planted.sum().clamp(min=1)
