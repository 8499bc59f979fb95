"""What one step of reading reads: frames as they are shown, their prompts, and where to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nodes.lab.training.attention_supervision import HEADS
from nodes.lab.training.examples.examples import Shown
from nodes.lab.training.examples.packing import Batch, Packer
from nodes.lab.training.examples.targets import COUNTED, KINDS, Truths


@dataclass(frozen=True)
class Page:
    """Tensors of frames, all shown with as many tiles.

    groups: the tiles of all frames, if there are any, and their overviews, as `EvenTower.see` takes them.
    native: truths of the tiles; ground: of the overviews. where: bool[sequences, length], the image tokens.
    ends [prompts, 2]: sequence and last token of each prompt about fine content, and `wanted`
    [prompts, HEADS, length], where each head is to look from there. first, fine: bool[labels], whether a
    label is the first of an answer, and whether it is of an answer about fine content. kept: what the tower
    made of everything, [image tokens, dim], if it was looked at before (`kept`).
    """

    groups: list[Tensor]
    native: Truths | None
    ground: Truths
    batch: Batch
    where: Tensor
    ends: Tensor
    wanted: Tensor
    first: Tensor
    fine: Tensor
    kept: Tensor | None = None

    @staticmethod
    def of(shown: Sequence[Shown], packer: Packer, kept: Sequence[Tensor] = ()) -> Page:
        """Put frames that are shown with as many tiles each beside one another.

        kept: what the tower made of each, if they were looked at before.
        """
        batch = packer.pack([one.rooms for one in shown], [one.asked for one in shown])
        tiles = [one.tiles for one in shown if one.tiles is not None]
        natives = [one.native for one in shown if one.native is not None]
        overviews = torch.from_numpy(np.stack([one.small for one in shown]))
        where = torch.zeros(batch.input_ids.shape, dtype=torch.bool)
        places = [torch.from_numpy(packer.image_places(one.rooms)) for one in shown]
        for sequence, place in enumerate(places):
            where[sequence, place] = True
        looks = [_where_to_look(one) for one in shown]
        kinds = [one.kind for frame in shown for one in frame.asked]
        ends, wanted = [], []
        for (sequence, token), kind in zip(batch.ends, kinds, strict=True):
            if kind in looks[sequence]:
                rows = torch.zeros(HEADS, where.shape[1])
                rows[:, places[sequence]] = looks[sequence][kind]
                rows[:, 0] = (1 - rows.sum(1)).clamp(min=0)
                ends.append((sequence, token))
                wanted.append(rows)
        starts = set(batch.ends)
        first = torch.tensor([(int(sequence), int(token)) in starts for sequence, token in batch.labelled])
        fine = torch.tensor([kind in KINDS for kind in kinds])[first.cumsum(0) - 1]
        return Page(
            groups=[*([torch.from_numpy(np.concatenate(tiles))] if tiles else []), overviews],
            native=Truths.stacked(natives) if natives else None,
            ground=Truths.stacked([one.ground for one in shown]),
            batch=batch,
            where=where,
            ends=torch.tensor(ends, dtype=torch.long).view(-1, 2),
            wanted=torch.stack(wanted) if wanted else torch.zeros(0, HEADS, where.shape[1]),
            first=first,
            fine=fine,
            kept=torch.cat(list(kept)).float() if kept else None,
        )

    def features(self, seen: Sequence[Tensor]) -> Tensor:
        """What the tower made of the groups, [image tokens, dim], sequence by sequence."""
        frames = len(seen[-1])
        return torch.cat([part.reshape(frames, -1, part.shape[-1]) for part in seen], dim=1).flatten(0, 1)


def _where_to_look(shown: Shown) -> dict[str, Tensor]:
    """For each kind of fine content, how much each head is to look at each image token: [HEADS, tokens].

    Of an overview it is not known what counts there: both heads look at the content.
    """
    native = shown.native
    truths = [shown.ground] if native is None else [native, shown.ground]
    kinds = torch.cat([one.kinds.flatten(0, 2) for one in truths])
    looks = {}
    for kind in KINDS[1:]:
        content = kinds[:, KINDS.index(kind)]
        if float(content.sum()) < 1e-3:
            continue
        content = content / content.sum()
        counting = content
        if native is not None:
            if kind in COUNTED:
                found = native.centres[..., COUNTED.index(kind)].flatten() / 4
            else:
                planted = native.rows[..., 1:].sum(-1).flatten()
                found = planted / planted.sum().clamp(min=1e-6)
            counting = functional.pad(found, (0, len(kinds) - len(found)))
        looks[kind] = torch.stack([counting, content])
    return looks
