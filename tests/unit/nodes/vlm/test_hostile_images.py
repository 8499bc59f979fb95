"""Image files that are bombs, programs or rubbish are refused, in words and in little memory."""

from __future__ import annotations

import io
import random
import stat
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import msgpack
import numpy as np
import pytest
from PIL import Image

from nodes.contract import files
from nodes.contract.files import IMAGE_FORMATS, MOST_SCANS, has_too_many_scans
from nodes.errors import ImageError, PayloadError
from nodes.regions import unpack
from nodes.vlm.image import open_image


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, *more: bytes) -> bytes:
    """Return a black PNG; `more` are chunks before its pixels."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    packer = zlib.compressobj(1)
    row = bytes((width * channels * depth + 7) // 8 + 1)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def test_a_text_that_unpacks_to_more_than_a_megabyte_is_not_unpacked(tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(3)) + packer.flush()
    for kind, head in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")):
        (tmp_path / "f.png").write_bytes(png(64, 64, 8, 2, _chunk(kind, head + bomb)))
        try:
            opened = open_image(tmp_path / "f.png")
        except ImageError as error:
            assert "cannot be read as an image" in str(error)
        else:
            assert not opened.info.get("k") and len(opened.info.get("icc_profile") or b"") < 2 << 20


def test_deep_grey_is_not_copied_over_and_over(tmp_path: Path) -> None:
    (tmp_path / "f.png").write_bytes(png(1500, 1500, 16, 0))
    tracemalloc.start()
    try:
        open_image(tmp_path / "f.png")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * 1500**2, "it was 17 bytes a pixel"


def of_scans(image: Image.Image, count: int) -> bytes:
    """Return a progressive JPEG whose last scan comes `count` times more."""
    whole = io.BytesIO()
    image.save(whole, "JPEG", progressive=True)
    data = whole.getvalue()
    begin, end = data.rindex(b"\xff\xda"), len(data) - 2
    return data[:end] + data[begin:end] * count + data[end:]


def test_an_image_that_takes_hours_is_not_decoded(tmp_path: Path) -> None:
    large = Image.new("L", (4000, 4000))
    (tmp_path / "f.jpg").write_bytes(of_scans(large, 2000))
    began_s = time.monotonic()
    with pytest.raises(ImageError, match="is a JPEG of more than 100 scans"):
        open_image(tmp_path / "f.jpg")
    assert time.monotonic() - began_s < 5, "it would take a minute, and of a megabyte half an hour"
    (tmp_path / "f.jpg").write_bytes(of_scans(Image.new("L", (64, 64)), 80))
    assert open_image(tmp_path / "f.jpg").size == (64, 64)


def test_regions_that_take_hours_are_not_decoded() -> None:
    fields = {"v": 1, "t": "regions", "size": [4000, 4000], "grid": [1, 1], "regions": []}
    data = of_scans(Image.new("L", (4000, 4000)), 2000)
    with pytest.raises(PayloadError, match="the overview is a JPEG of more than 100 scans"):
        unpack(msgpack.packb(fields | {"overview": data}))


def test_scans_are_counted_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 8)
    for gap in range(9):
        data = (bytes(gap) + b"\xff\xda") * (MOST_SCANS + 1)
        file = io.BytesIO(data)
        file.seek(7)
        assert has_too_many_scans("JPEG", file) and file.tell() == 7
        assert not has_too_many_scans("JPEG", io.BytesIO(data[:-1]))
        assert not has_too_many_scans("PNG", file)


def test_an_image_that_is_a_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS, whatever its name is, to Ghostscript."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\nexit 1\n")
    ghostscript.chmod(ghostscript.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "f.jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(ImageError, match="cannot be read as an image"):
        open_image(tmp_path / "f.jpg")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_damage_anywhere_is_an_image_error_or_an_image(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    path, drawn = tmp_path / "f", random.Random(1)  # noqa: S311
    Image.fromarray(pixels).save(path, kind)
    whole = path.read_bytes()
    assert open_image(path).size == (28, 28)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(drawn.randint(1, 8)):
            data[drawn.randrange(min(len(data), drawn.choice((160, len(data)))))] = drawn.randrange(256)
        path.write_bytes(data[: drawn.randint(1, len(data))] if drawn.random() < 0.3 else data)
        try:
            assert open_image(path).mode == "RGB"
        except ImageError as error:
            assert "\n" not in str(error)


def test_deep_grey_is_stretched_over_all_rows_alike(tmp_path: Path) -> None:
    values = np.linspace(1000, 61000, 600 * 40, dtype=np.uint16).reshape(600, 40)
    Image.fromarray(values).save(tmp_path / "f.png")
    seen = np.asarray(open_image(tmp_path / "f.png"))[:, :, 0]
    wanted = ((values.astype(np.float32) - 1000) / 60000 * 255).round()
    assert np.abs(seen - wanted).max() <= 1
    floats = np.where(np.eye(40) > 0, np.nan, np.float32(7.5)).astype(np.float32)
    Image.fromarray(floats).save(tmp_path / "f.tif")
    assert np.asarray(open_image(tmp_path / "f.tif")).max() == 255


@pytest.mark.filterwarnings("ignore")
def test_damage_in_the_notes_of_a_camera_is_an_image_error_too(tmp_path: Path) -> None:
    image = Image.new("RGB", (24, 24))
    exif = image.getexif()
    exif.update({0x0112: 6, 0x010F: "maker", 0x011A: 72.0})
    image.save(tmp_path / "f.jpg", exif=exif)
    whole, damaged = (tmp_path / "f.jpg").read_bytes(), 0
    begin = whole.index(b"MM\0*") if b"MM\0*" in whole else whole.index(b"II*\0")
    for seed in range(40):
        drawn, data = random.Random(seed), bytearray(whole)  # noqa: S311
        for _ in range(3):
            data[begin + drawn.randrange(80)] = drawn.randrange(256)
        (tmp_path / "f.jpg").write_bytes(data)
        try:
            open_image(tmp_path / "f.jpg")
        except ImageError as error:
            damaged += not isinstance(error.__context__, OSError | ValueError | SyntaxError)
    assert damaged > 0, "Pillow raised nothing unusual: other seeds are needed"
