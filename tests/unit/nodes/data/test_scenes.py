"""Frames cut from GeoTIFFs: bands, scale, windows, georeference, and the memory that they take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from nodes.data.frames import in_place
from nodes.data.pairs import Pair, listed_pairs, read_pairs
from nodes.data.scenes import SceneWindow
from nodes.errors import DataError

pytestmark = [
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of rasterio's use of affine
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
SIDE_PX = 200
PIXEL_M = 10.0


def scene(path: Path, values: NDArray[Any], **options: Any) -> Path:
    """Write bands, rows, columns as a GeoTIFF in UTM zone 33 north of Svalbard's latitude."""
    count, height, width = values.shape
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 8_700_000, PIXEL_M, PIXEL_M)}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=count,
        dtype=values.dtype,
        **place | options,
    ) as file:
        file.write(values)
    return path


def ramps() -> NDArray[np.uint16]:
    """Four bands of 16 bits: each rises along the rows from its own start."""
    columns = np.arange(SIDE_PX, dtype=np.uint16)
    return np.stack([np.tile(1000 * band + columns, (SIDE_PX, 1)) for band in range(1, 5)])


def cut(tmp_path: Path, row: dict[str, Any], name: str = "scene.tif") -> Pair:
    row = {"frame": "a", "image": name, "prompt": "?", "truth": "yes", **row}
    (tmp_path / "prompts.jsonl").write_text(json.dumps(row) + "\n")
    (pair,) = read_pairs(tmp_path, kept=tmp_path / "kept")
    return pair


def pixels(pair: Pair) -> NDArray[np.uint8]:
    with Image.open(pair.image) as opened:
        return np.asarray(opened)


def test_bands_of_a_window_are_scaled_by_its_percentiles(tmp_path: Path) -> None:
    scene(tmp_path / "scene.tif", ramps())
    pair = cut(tmp_path, {"window": [50, 20, 101, 30], "bands": [4, 3, 2], "percentiles": [0, 100]})
    frame = pixels(pair)
    assert frame.shape == (30, 101, 3)
    assert frame[0, 0].tolist() == [0, 0, 0]
    assert frame[0, 100].tolist() == [255, 255, 255]
    assert frame[7, 50].tolist() == [128, 128, 128]
    assert pair.record is not None
    assert pair.record["scale"] == [[4050, 4150], [3050, 3150], [2050, 2150]]
    clipped = pixels(cut(tmp_path, {"window": [50, 20, 101, 30], "bands": [4], "percentiles": [10, 90]}))
    assert clipped.shape == (30, 101)
    assert (clipped[0, 10], clipped[0, 50], clipped[0, 90]) == (0, 128, 255)


def test_one_scale_for_all_frames(tmp_path: Path) -> None:
    scene(tmp_path / "scene.tif", ramps())
    for left in (0, 60):
        frame = pixels(cut(tmp_path, {"window": [left, 0, 60, 20], "bands": [1], "scale": [1000, 1255]}))
        assert frame[0].tolist() == list(range(left, left + 60))
    frame = pixels(cut(tmp_path, {"bands": [1, 2, 3], "scale": [[1000, 1255], [2000, 2255], [3100, 3355]]}))
    assert frame[0, 100].tolist() == [100, 100, 0]


def test_the_record_has_the_ground_that_a_frame_shows(tmp_path: Path) -> None:
    scene(tmp_path / "scene.tif", ramps())
    pair = cut(tmp_path, {"window": [100, 0, 100, 200]})
    assert pair.record is not None
    assert pair.record["crs"] == "EPSG:32633"
    assert pair.record["transform"] == [10, 0, 501_000, 0, -10, 8_700_000]
    assert pair.footprint is not None
    assert pair.footprint.latitude_deg == pytest.approx(78.363, abs=0.02)
    assert pair.footprint.longitude_deg == pytest.approx(15.066, abs=0.01)
    # 2 km are 0.018 degrees of latitude, and 1 km is 0.044 degrees of longitude there
    assert pair.footprint.span_deg == pytest.approx(0.045, abs=0.003)
    named = cut(
        tmp_path, {"window": [100, 0, 100, 200], "latitude_deg": 1, "longitude_deg": 2, "span_deg": 3}
    )
    assert named.footprint is not None
    assert named.footprint.latitude_deg == 1


def test_pixels_without_data_are_black_and_do_not_count(tmp_path: Path) -> None:
    values = ramps()[:1]
    values[0, :, :50] = 0
    scene(tmp_path / "scene.tif", values, nodata=0)
    pair = cut(tmp_path, {"percentiles": [0, 100]})
    assert pair.record is not None
    assert pair.record["scale"] == [[1050, 1199]]
    assert not pixels(pair)[:, :50].any()


def test_bands_by_the_files_colours_and_8_bits_as_they_are(tmp_path: Path) -> None:
    values = np.stack([np.full((20, 20), shade, dtype=np.uint8) for shade in (10, 20, 30, 40)])
    path = scene(tmp_path / "scene.tif", values)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    assert pixels(cut(tmp_path, {"window": [0, 0, 20, 20]}))[0, 0].tolist() == [40, 30, 20]


def test_a_tiff_that_is_no_plain_image_becomes_one(tmp_path: Path) -> None:
    scene(tmp_path / "scene.tif", ramps())
    pair = cut(tmp_path, {})
    assert pair.image.suffix == ".png"
    assert pixels(pair).shape == (SIDE_PX, SIDE_PX, 3)
    Image.new("RGB", (20, 20)).save(tmp_path / "plain.tif")
    assert cut(tmp_path, {}, "plain.tif").image == tmp_path / "plain.tif"


def test_a_frame_is_made_once(tmp_path: Path) -> None:
    scene(tmp_path / "scene.tif", ramps())
    first = cut(tmp_path, {"window": [0, 0, 50, 50]})
    made_ns = first.image.stat().st_mtime_ns
    assert cut(tmp_path, {"window": [0, 0, 50, 50]}).image.stat().st_mtime_ns == made_ns
    assert cut(tmp_path, {"window": [0, 0, 50, 49]}).image != first.image


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"window": [150, 0, 60, 60]}, r"window \[150, 0, 60, 60\] exceeds its 200 x 200 px"),
        ({"window": [0, 0, 60]}, "line 1: ValueError: window .* must be column, row, width, height"),
        ({"bands": [5]}, "it has no band 5, but 4"),
        ({"bands": [1, 2]}, "must be one band or three"),
        ({"percentiles": [98, 2]}, "must be a low and a higher value"),
        ({"percentiles": [2, 98], "scale": [0, 1]}, "exclude each other"),
        ({"image": "a.png", "window": [0, 0, 9, 9]}, r"a\.png is no GeoTIFF, which window needs"),
    ],
)
def test_what_cannot_be_cut_is_one_line(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    scene(tmp_path / "scene.tif", ramps())
    with pytest.raises(DataError, match=expected) as caught:
        cut(tmp_path, row)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("kept/*"))


def test_a_scene_that_is_damaged_and_a_machine_without_rasterio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scene.tif").write_bytes(b"II*\x00 damaged")
    with pytest.raises(DataError, match=r"scene\.tif cannot be read"):
        cut(tmp_path, {"window": [0, 0, 5, 5]})
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(DataError, match=r"need rasterio: pip install 'spaceverse-testbed\[geotiff\]'"):
        in_place(listed_pairs(tmp_path), tmp_path / "kept")


_MEASURED = """
import sys
from pathlib import Path
from nodes.data.scenes import SceneWindow
import rasterio, numpy, PIL.Image, rasterio.warp

def status_kb(name):  # ru_maxrss would begin at that of the parent
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

before_kb = status_kb("VmRSS")
SceneWindow(Path(sys.argv[1]), eval(sys.argv[3]), (4, 3, 2)).write(Path(sys.argv[2]))
print(status_kb("VmHWM") - before_kb)
"""


def test_a_window_is_read_without_its_scene(tmp_path: Path) -> None:
    side_px, bands = 11_000, 4  # 121 Mpx, 968 MB
    path = tmp_path / "large.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=side_px, height=side_px, count=bands, dtype="uint16",
        tiled=True, blockxsize=512, blockysize=512, sparse_ok=True,
    ):  # fmt: skip
        pass  # its pixels take no room on the disk, but all of it in memory
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(path), str(tmp_path / "frame.png"), "(4000, 4000, 1024, 1024)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(measured.stdout) * 1024 < 100e6
    with Image.open(tmp_path / "frame.png") as frame:
        assert frame.size == (1024, 1024)


def test_a_large_window_is_reduced(tmp_path: Path) -> None:
    scene(tmp_path / "scene.tif", np.zeros((1, 4, 8192), dtype=np.uint16))
    record = SceneWindow(tmp_path / "scene.tif").write(tmp_path / "frame.png")
    assert record["transform"][:5] == [20, 0, 500_000, 0, -20]
    with Image.open(tmp_path / "frame.png") as frame:
        assert frame.size == (4096, 2)
