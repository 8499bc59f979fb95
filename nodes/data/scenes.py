"""Frames cut from GeoTIFFs: bands of a window, scaled to 8 bits, with the ground that they show.

A line of `prompts.jsonl` whose image is a GeoTIFF may have

    window       [column, row, width, height] in pixels of the scene; without it, the whole scene
    bands        one band, or three for red, green and blue, counted from 1; by default those that the file
                 names as colours, else the first three
    percentiles  [low, high]: each band is scaled linearly from its low to its high percentile within the
                 window (default 2 and 98)
    scale        instead, [low, high] in values of the file, or a list of these, one per band

8-bit files are scaled only if a line says so. Values below and above are cut off; pixels without data are
black and do not count. Windows whose longer side exceeds 4096 px are reduced to it by averages. Percentiles
of more than a million pixels are those of every nth row and column. The frame is a PNG file.

Only the window is read (rasterio.readthedocs.io/en/stable/topics/windowed-rw.html), band by band; memory is
that of a few bands of the frame, whatever the size of the scene. A compressed file of a single strip is an
exception: GDAL can only decode it whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.errors import DataError, first_line
from nodes.vlm.image import LARGEST_PIXELS, LONGEST_SIDE_PX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENDINGS = (".tif", ".tiff")
KEYS = ("window", "bands", "percentiles", "scale")
_PERCENTILES = (2.0, 98.0)
_CACHE_MB = 64  # of GDAL's decoded blocks
_SAMPLES = 1_000_000  # pixels that percentiles are taken of
_ROWS = 256
_PLAIN_MODES = ("1", "L", "P", "RGB", "RGBA")


@dataclass(frozen=True)
class SceneWindow:
    """A window of a scene; see the module for its attributes."""

    scene: Path
    window: tuple[int, int, int, int] | None = None
    bands: tuple[int, ...] = ()
    percentiles: tuple[float, float] | None = None
    scale: tuple[tuple[float, float], ...] = ()

    def key(self) -> str:
        """Return a hash of the scene's identity and of what is cut from it."""
        stat = self.scene.stat()
        named = (str(self.scene.absolute()), stat.st_size, stat.st_mtime_ns)
        cut = (self.window, self.bands, self.percentiles, self.scale)
        return hashlib.sha256(repr(("1", *named, *cut)).encode()).hexdigest()

    def write(self, unfinished: Path) -> dict[str, Any]:
        """Write the frame as PNG; return its record.

        Raises:
            DataError: The scene cannot be read, or does not have that window or these bands.
        """
        try:
            import rasterio  # an extra
        except ImportError:
            raise DataError(
                f"{self.scene}: frames from GeoTIFFs need rasterio: pip install 'spaceverse-testbed[geotiff]'"
            ) from None
        try:
            with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB), rasterio.open(self.scene) as opened:
                return self._cut(opened, unfinished)
        except rasterio.errors.RasterioError as error:
            raise DataError(f"{self.scene} cannot be read: {first_line(error)}") from error

    def _cut(self, opened: Any, path: Path) -> dict[str, Any]:
        import numpy as np
        from PIL import Image
        from rasterio.enums import Resampling
        from rasterio.windows import Window

        column, row, width, height = self.window or (0, 0, opened.width, opened.height)
        if column + width > opened.width or row + height > opened.height:
            raise DataError(
                f"{self.scene}: window {[column, row, width, height]} exceeds its "
                f"{opened.width} x {opened.height} px"
            )
        bands = self.bands or _colours(opened)
        if missing := [band for band in bands if band > opened.count]:
            raise DataError(f"{self.scene}: it has no band {missing[0]}, but {opened.count}")
        window = Window(column, row, width, height)
        reduced = max(1.0, max(width, height) / LONGEST_SIDE_PX)
        shape = max(1, round(height / reduced)), max(1, round(width / reduced))
        frame = np.zeros((*shape, len(bands)), dtype=np.uint8)
        limits = []
        for index, band in enumerate(bands):
            values = opened.read(band, window=window, out_shape=shape, resampling=Resampling.average)
            known = opened.read_masks(band, window=window, out_shape=shape) > 0
            low, high = self._limits(index, values, known)
            _scale(values, known, low, high, frame[:, :, index])
            limits.append([low, high])
        image = Image.fromarray(frame[:, :, 0] if len(bands) == 1 else frame)
        image.save(path, format="PNG", compress_level=1)
        return {
            "scene": str(self.scene.absolute()),
            "window": [column, row, width, height],
            "bands": list(bands),
            "scale": limits,
            **_georeference(opened, window, reduced),
        }

    def _limits(self, index: int, values: NDArray[Any], known: NDArray[np.bool_]) -> tuple[float, float]:
        import numpy as np

        if self.scale:
            return self.scale[min(index, len(self.scale) - 1)]
        if values.dtype == np.uint8 and self.percentiles is None:
            return 0.0, 255.0
        step = max(1, round((values.size / _SAMPLES) ** 0.5))
        sample = values[::step, ::step][known[::step, ::step]]
        sample = sample[np.isfinite(sample)]
        if not sample.size:
            return 0.0, 1.0
        low, high = np.percentile(sample, self.percentiles or _PERCENTILES)
        return float(low), float(high)


def window_in(row: dict[str, Any], image: Path) -> SceneWindow | None:
    """Return the window of a scene that a line of `prompts.jsonl` describes; None for a plain image.

    Raises:
        ValueError: A key is unsuitable.
    """
    if not any(key in row for key in KEYS):
        return None
    if image.suffix.lower() not in ENDINGS:
        given = ", ".join(key for key in KEYS if key in row)
        raise ValueError(f"{image.name} is no GeoTIFF, which {given} needs")
    window = row.get("window")
    if window is not None:
        window = tuple(int(value) for value in window)
        if len(window) != 4 or min(window) < 0 or min(window[2:]) < 1:
            raise ValueError(f"window {row['window']} must be column, row, width, height in px")
    bands = tuple(int(band) for band in row.get("bands", ()))
    if len(bands) not in (0, 1, 3) or any(band < 1 for band in bands):
        raise ValueError(f"bands {row['bands']} must be one band or three, counted from 1")
    if "percentiles" in row and "scale" in row:
        raise ValueError("percentiles and scale exclude each other: omit one")
    percentiles = row.get("percentiles")
    if percentiles is not None:
        percentiles = _ascending(percentiles, "percentiles")
        if percentiles[0] < 0 or percentiles[1] > 100:
            raise ValueError(f"percentiles {row['percentiles']} must be from 0 to 100")
    scale = row.get("scale", ())
    scales = scale if not scale or isinstance(scale[0], list) else [scale]
    return SceneWindow(image, window, bands, percentiles, tuple(_ascending(one, "scale") for one in scales))


def whole_scene(image: Path) -> SceneWindow | None:
    """Return the scene of a TIFF that is no plain image: more than 8 bits, many bands, or too many pixels."""
    if image.suffix.lower() not in ENDINGS:
        return None
    from PIL import Image

    try:
        with Image.open(image, formats=("TIFF",)) as opened:
            plain = opened.mode in _PLAIN_MODES and opened.width * opened.height <= LARGEST_PIXELS
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        plain = False
    return None if plain else SceneWindow(image)


def _ascending(values: Any, what: str) -> tuple[float, float]:
    low, high = (float(value) for value in values)
    if not low < high:
        raise ValueError(f"{what} {values} must be a low and a higher value")
    return low, high


def _colours(opened: Any) -> tuple[int, ...]:
    """Return the bands that the file names red, green and blue, else the first three, or the only one."""
    named = {colour.name: band for band, colour in zip(opened.indexes, opened.colorinterp, strict=True)}
    if {"red", "green", "blue"} <= named.keys():
        return named["red"], named["green"], named["blue"]
    return (1, 2, 3) if opened.count >= 3 else (1,)


def _scale(
    values: NDArray[Any], known: NDArray[np.bool_], low: float, high: float, into: NDArray[np.uint8]
) -> None:
    """Scale a band to 8 bits, some rows at a time."""
    import numpy as np

    span = max(high - low, 1e-12)
    for start in range(0, len(values), _ROWS):
        rows = slice(start, start + _ROWS)
        part = (np.nan_to_num(values[rows].astype(np.float32)) - np.float32(low)) / np.float32(span)
        into[rows] = np.where(known[rows], (part.clip(0, 1) * 255).round(), 0)


def _georeference(opened: Any, window: Any, reduced: float) -> dict[str, Any]:
    """Return the frame's coordinate system, transform and footprint, as far as the file has them."""
    if opened.crs is None:
        return {}
    from rasterio.warp import transform_bounds

    whole = opened.window_transform(window)
    west, south, east, north = transform_bounds(opened.crs, "EPSG:4326", *opened.window_bounds(window))
    return {
        "crs": opened.crs.to_string(),
        "transform": [
            *(whole.a * reduced, whole.b * reduced, whole.c),
            *(whole.d * reduced, whole.e * reduced, whole.f),
        ],
        "latitude_deg": (south + north) / 2,
        "longitude_deg": (west + east) / 2,
        "span_deg": max(north - south, east - west),
    }
