"""Draws a scene: any rectangle of it at native scale, or the whole reduced by exact area coverage.

Surface, haze, cloud, shadow and noise are area means without approximation. Coverage of objects is sampled
REDUCTION times a side for small objects, and with antialiased samples for large ones. What is left is the
product of means for the mean of products, as under the edge of a cloud, and the rounding of native pixels:
`MEAN_BOUND` says how far reduced pixels may differ from the mean of their native ones on average,
`WORST_BOUND` how far all but one in a thousand may.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.backgrounds import BACKGROUNDS
from nodes.lab.eo_mini_2.fields import WHOLE_REDUCED, Floats, Window, between, from_tile, nodes
from nodes.lab.eo_mini_2.outlines import patch_of
from nodes.lab.eo_mini_2.scene import FRAME_PX, Lure, Scene, Thing, Veil

Pixels: TypeAlias = NDArray[np.uint8]

MEAN_BOUND, WORST_BOUND = 0.5, 4.0  # grey levels between a reduced pixel and the mean of its native ones
_HAZE = np.array([228, 232, 236], np.float32)
_CLOUD_LIGHT = 9.0  # grey levels by which a cloud is brighter where its field is one deviation higher
_PEDESTAL = 10.0  # what the sensor reads without light


def render(scene: Scene, window: Window = WHOLE_REDUCED) -> Pixels:
    """Return a window of a scene; uint8[height, width, 3]. Without a window, the whole frame, reduced."""
    return np.clip(np.rint(radiance(scene, window)), 0, 255).astype(np.uint8)


def native(
    scene: Scene, left_px: int = 0, top_px: int = 0, width_px: int = FRAME_PX, height_px: int = FRAME_PX
) -> Pixels:
    """Return a rectangle of a scene at native scale; uint8[height_px, width_px, 3]."""
    return render(scene, Window(left_px, top_px, width_px, height_px))


def radiance(scene: Scene, window: Window) -> Floats:
    """Return a window of a scene before rounding; float32[height, width, 3]."""
    colour = BACKGROUNDS[scene.ground.source].surface(scene.ground, window)
    water = np.asarray(scene.ground.water, np.float32)
    objects: tuple[Lure | Thing, ...] = (*scene.lures, *scene.things)
    for thing in objects:
        if patch := patch_of(thing, window):
            area = colour[patch.rows, patch.columns]
            opacity = patch.opacity[..., None]
            area += opacity * (water - area) + patch.colour
    if scene.cloud and scene.cloud.shadow:
        shade = opacity_of(scene.cloud, window, scene.cloud.shadow_px)
        colour *= 1 - np.float32(scene.cloud.shadow) * shade[..., None]
    for veil, lit in ((scene.haze, 0.0), (scene.cloud, _CLOUD_LIGHT)):
        if veil:
            white: Floats = _HAZE
            if lit:
                folds = np.clip(nodes(veil.seed, veil.detail), -2, 2)
                white = _HAZE - np.float32(lit) + np.float32(lit) * between(folds, window)[..., None]
            opacity = opacity_of(veil, window)[..., None]
            colour += opacity * (white - colour)
    if scene.light != 1:
        colour = np.asarray(colour * scene.light + _PEDESTAL * (1 - scene.light), np.float32)
    colour += np.float32(scene.noise) * from_tile("noise", window, scene.noise_px)[..., None]
    return colour


def opacity_of(veil: Veil, window: Window, shift_px: tuple[int, int] = (0, 0)) -> Floats:
    """Return the opacity of a veil in a window; float32[height, width]."""
    depth = np.maximum((nodes(veil.seed, veil.detail) + veil.offset) * veil.gain, 0)
    return between(np.asarray(veil.most * np.tanh(depth / veil.most), np.float32), window, shift_px)
