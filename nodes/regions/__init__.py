"""Multi-scale preprocessing: which regions of a frame go down, at what scale, and how they travel.

    grid.py       a frame's grid of regions; scores from a map over the frame
    choice.py     drop, down-sample or keep each region within a byte budget
    payload.py    one message of it: an overview and the chosen regions, by an ordinary image codec; and back
    drawing.py    a picture of what was kept
    clip.py       CLIP similarity as a scorer, for those who have a CLIP

The paper (arXiv 2507.05731) has regions dropped, down-sampled or kept by their relevance to the prompt. The
grid, the choice within a budget and the format are this project's own design.
"""

from nodes.errors import PayloadError
from nodes.regions.choice import Choice, choose
from nodes.regions.grid import Grid, scores_from_map
from nodes.regions.payload import Packed, RegionPicture, Unpacked, pack, unpack

__all__ = [
    "Choice",
    "Grid",
    "Packed",
    "PayloadError",
    "RegionPicture",
    "Unpacked",
    "choose",
    "pack",
    "scores_from_map",
    "unpack",
]
