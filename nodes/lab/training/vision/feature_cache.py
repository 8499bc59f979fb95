"""On-disk cache of features from a frozen vision tower.

On a CPU the vision tower takes most of the time of a step. The cache is one memory-mapped file: it need not
fit into memory, and an interrupted training can resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodes.lab.training.examples.augmentation import AUGMENTATIONS
from nodes.lab.training.examples.examples import Example, make_tiled_example, placed_tiles, sample_tiles
from nodes.lab.training.examples.frames import GRID, TOKEN_PX, TrainingFrame
from nodes.lab.training.vision.batched_tower import BatchedVisionTower
from nodes.lab.training.vision.prefetch import prefetch

_TILES_PER_PASS = 16  # few, so that activations stay in the CPU's caches


class FeatureCache:
    """Frames, each with one augmentation, and the features of some of their tiles and of their overviews.

    Args:
        frames: Frames of the train split.
        tile_px: Side of a tile.
        tiles: Number of cached tiles per frame; tiles with complete contents first.
        seed: Seed of augmentations and tiles.
        path: The file; features in it must come from the same arguments and the same tower.
        dim: Length of a feature.

    Attributes:
        augmentations: The augmentation of each frame.
        tiles_cached: The cached tiles of each frame, in order.

    Raises:
        ValueError: The file is of another training.
    """

    def __init__(
        self, frames: Sequence[TrainingFrame], tile_px: int, tiles: int, seed: int, path: Path, dim: int
    ) -> None:
        self.frames, self._tile_px, self._tiles = frames, tile_px, tiles
        rng = np.random.default_rng((seed, tiles))
        self.augmentations = [
            int(augmentation) for augmentation in rng.integers(AUGMENTATIONS, size=len(frames))
        ]
        self.tiles_cached = [sample_tiles(frame.contents, tile_px, tiles, rng) for frame in frames]
        self._a_tile = (tile_px // TOKEN_PX) ** 2
        shape = (len(frames), tiles * self._a_tile + GRID**2, dim)
        if path.is_file():
            self._features = np.lib.format.open_memmap(path, mode="r+")
            if self._features.shape != shape:
                raise ValueError(
                    f"{path}: holds {self._features.shape}, not {shape}: it is of another training; delete it"
                )
        else:
            self._features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)

    def fill(self, tower: BatchedVisionTower, device: str, workers: int = 1) -> Iterator[int]:
        """Compute missing features, and yield the number of complete frames after each frame.

        Args:
            tower: The vision tower.
            device: Its device.
            workers: Number of threads that decode frames.
        """
        missing = [
            number for number, one in enumerate(self._features) if not one[-1].any()
        ]  # the overview is written last

        def example(number: int) -> Example:
            frame, tiles_cached = self.frames[number], self.tiles_cached[number]
            return make_tiled_example(
                frame, self._tile_px, tiles_cached, self.augmentations[number], keep_positions=True
            )

        examples, uncached = prefetch(example, missing, workers), set(missing)
        for number in range(len(self.frames)):
            if number in uncached:
                self._features[number] = self._encoded(tower, next(examples), device)
            yield number + 1

    def _encoded(self, tower: BatchedVisionTower, example: Example, device: str) -> NDArray[np.float16]:
        assert example.tiles is not None  # noqa: S101 - they were requested
        tiles, overview = torch.from_numpy(example.tiles), torch.from_numpy(example.overview.copy())
        views = [
            *(tiles[start : start + _TILES_PER_PASS] for start in range(0, len(tiles), _TILES_PER_PASS)),
            overview[None],
        ]
        with torch.no_grad():
            outputs = [tower.encode([view.to(device)])[0].flatten(0, 1) for view in views]
        return np.asarray(torch.cat(outputs).half().cpu())

    def make_example(self, number: int, tiles: int, rng: np.random.Generator) -> tuple[Example, Tensor]:
        """Return an example with some of a frame's cached tiles, and its features.

        Args:
            number: Index of the frame.
            tiles: Number of tiles; those with complete contents come first.
            rng: Source of randomness. In half of the examples, omitted tiles leave no gap in positions.

        Returns:
            The example without pixels, and float16[image tokens, dim] in the order of its slots.
        """
        frame, augmentation, tiles_cached = (
            self.frames[number],
            self.augmentations[number],
            self.tiles_cached[number],
        )
        tiles_shown = sample_tiles(frame.contents, self._tile_px, tiles, rng, among=tiles_cached)
        keep_positions = bool(rng.random() < 0.5)
        example = make_tiled_example(
            frame, self._tile_px, tiles_shown, augmentation, keep_positions=keep_positions, pixels=False
        )
        features = torch.from_numpy(np.array(self._features[number]))
        order = [index for _, index in placed_tiles(tiles_cached, self._tile_px, augmentation)]
        parts = [
            features[start * self._a_tile : (start + 1) * self._a_tile]
            for start in (
                order.index(index) for _, index in placed_tiles(tiles_shown, self._tile_px, augmentation)
            )
        ]
        return example, torch.cat([*parts, features[self._tiles * self._a_tile :]])
