"""What a tower that learns no more makes of frames: each is looked at once, and what it made is kept.

On a processor the tower takes most of the time of a step in which the language model reads a frame. One file
holds everything, so that it need not fit into memory and a training can go on where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodes.lab.training.examples.augmentation import TURNS
from nodes.lab.training.examples.examples import Shown, place_tiles, show_tiles, some_tiles
from nodes.lab.training.examples.frames import GRID, TOKEN_PX, TrainingFrame
from nodes.lab.training.vision.even_tower import EvenTower
from nodes.lab.training.vision.prefetch import made_ahead

_AT_ONCE = 16  # tiles; what is between the tower's layers then stays in the processor's caches


class Kept:
    """Frames, each turned one way, with the features of some of its tiles and of its overview.

    `turns`, `chosen`: of each frame, its turn and the tiles that are kept, in order.

    Args:
        frames: of the train split.
        tile_px: side of a tile.
        tiles: kept of each frame, those of whole contents first.
        seed: of turns and tiles.
        path: of the file; what was kept there for the same arguments by the same tower is used.
        dim: of a feature.
    """

    def __init__(
        self, frames: Sequence[TrainingFrame], tile_px: int, tiles: int, seed: int, path: Path, dim: int
    ) -> None:
        self.frames, self._tile_px, self._tiles = frames, tile_px, tiles
        rng = np.random.default_rng((seed, tiles))
        self.turns = [int(turn) for turn in rng.integers(TURNS, size=len(frames))]
        self.chosen = [some_tiles(frame.contents, tile_px, tiles, rng) for frame in frames]
        self._a_tile = (tile_px // TOKEN_PX) ** 2
        shape = (len(frames), tiles * self._a_tile + GRID**2, dim)
        if path.is_file():
            self._features = np.lib.format.open_memmap(path, mode="r+")
            if self._features.shape != shape:
                raise ValueError(
                    f"{path}: holds {self._features.shape}, not {shape}: of another training; delete it"
                )
        else:
            self._features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)

    def look(self, tower: EvenTower, device: str, workers: int = 1) -> Iterator[int]:
        """Look at each frame that has not been looked at; yields how many have been, after each.

        workers: threads that decode frames meanwhile.
        """
        left = [number for number, one in enumerate(self._features) if not one[-1].any()]  # written last

        def shown(number: int) -> Shown:
            frame, chosen = self.frames[number], self.chosen[number]
            return show_tiles(frame, self._tile_px, chosen, self.turns[number], leave=True)

        ahead, missing = made_ahead(shown, left, workers), set(left)
        for number in range(len(self.frames)):
            if number in missing:
                self._features[number] = self._seen(tower, next(ahead), device)
            yield number + 1

    def _seen(self, tower: EvenTower, shown: Shown, device: str) -> NDArray[np.float16]:
        assert shown.tiles is not None  # noqa: S101 - they were asked for
        tiles, small = torch.from_numpy(shown.tiles), torch.from_numpy(shown.small.copy())
        views = [*(tiles[start : start + _AT_ONCE] for start in range(0, len(tiles), _AT_ONCE)), small[None]]
        with torch.no_grad():
            seen = [tower.see([view.to(device)])[0].flatten(0, 1) for view in views]
        return np.asarray(torch.cat(seen).half().cpu())

    def show(self, number: int, tiles: int, rng: np.random.Generator) -> tuple[Shown, Tensor]:
        """Show `tiles` of the kept tiles of a frame, those of whole contents first; and their features.

        Every second time no room is left for the others.

        Returns the frame without pixels, and float16[image tokens, dim] in the order of its rooms.
        """
        frame, turn, chosen = self.frames[number], self.turns[number], self.chosen[number]
        some = some_tiles(frame.contents, self._tile_px, tiles, rng, among=chosen)
        leave = bool(rng.random() < 0.5)
        shown = show_tiles(frame, self._tile_px, some, turn, leave=leave, pixels=False)
        kept = torch.from_numpy(np.array(self._features[number]))
        order = [index for _, index in place_tiles(chosen, self._tile_px, turn)]
        parts = [
            kept[start * self._a_tile : (start + 1) * self._a_tile]
            for start in (order.index(index) for _, index in place_tiles(some, self._tile_px, turn))
        ]
        return shown, torch.cat([*parts, kept[self._tiles * self._a_tile :]])
