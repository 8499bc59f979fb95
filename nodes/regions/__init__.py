"""Multi-scale preprocessing: selects the regions of a frame to send and packs them into a message.

    grid.py       grid of regions over a frame; scores of regions from a map over the frame
    choice.py     drops, down-samples or keeps each region within a byte budget
    payload.py    message format: an overview and the chosen regions, encoded by an image codec
    drawing.py    drawing of the regions that were sent

In the paper (arXiv 2507.05731) regions are dropped, down-sampled or kept by their relevance to the prompt.
The grid, the choice within a budget and the format are this project's own design.
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
