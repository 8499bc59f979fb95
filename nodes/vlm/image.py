"""Opens an image file of any mode or rotation as upright 8-bit RGB of bounded size.

A file with more than 100 megapixels is rejected before its pixels are read; below that, decoding takes about
1 GB at most. Sides longer than 4096 px are reduced to that (for JPEG during decoding), and sides shorter than
28 px are enlarged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from nodes.contract.files import IMAGE_FORMATS, MOST_SCANS, has_too_many_scans, is_transient
from nodes.errors import ImageError, first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

LARGEST_PIXELS = 100_000_000
LONGEST_SIDE_PX = 4096
SHORTEST_SIDE_PX = 28  # one token of Qwen2-VL; below it, some processors mistake pixels for channels
WARM_UP_SIDE_PX = 224
WARM_UP_PROMPT = "What is this?"
_ROWS = 256
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def open_image(path: str | Path | BinaryIO) -> Image:
    """Read an image file.

    Deep greyscale (16-bit, 32-bit, float) is stretched linearly from its darkest to its brightest pixel.

    Args:
        path: The file, or its path.

    Raises:
        ImageError: The image is missing or damaged, has another format than IMAGE_FORMATS, or more than
            LARGEST_PIXELS.
        OSError: The file cannot be opened at present, such as for too many open files.
    """
    from PIL import Image, ImageOps  # not for --help

    try:
        with Image.open(path, formats=IMAGE_FORMATS) as opened:
            width, height = opened.size
            if width * height > LARGEST_PIXELS:
                raise _too_large(path, f"{width} x {height} px")
            if has_too_many_scans(opened.format, cast("BinaryIO", opened.fp)):
                raise ImageError(f"{path} is a JPEG of more than {MOST_SCANS} scans: save it again")
            opened.draft("RGB", (LONGEST_SIDE_PX, LONGEST_SIDE_PX))
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)
            return _rgb(opened)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(path, "far above it") from None
    except FileNotFoundError:
        raise ImageError(f"no image {path}: check the path") from None
    except OSError as error:
        if is_transient(error):
            raise
        raise _unreadable(path, error) from None
    except Exception as error:  # Pillow's decoders raise many types for damaged bytes
        raise _unreadable(path, error) from None


def warm_up_image() -> Image:
    """Return the grey image that models are warmed up with."""
    from PIL import Image  # not for --help

    return Image.new("RGB", (WARM_UP_SIDE_PX, WARM_UP_SIDE_PX), (128, 128, 128))


def _unreadable(path: str | Path | BinaryIO, error: Exception) -> ImageError:
    return ImageError(f"{path} cannot be read as an image ({first_line(error)}): use a complete image file")


def _too_large(path: str | Path | BinaryIO, size: str) -> ImageError:
    limit = LARGEST_PIXELS // 1_000_000
    return ImageError(f"{path} exceeds the limit of {limit} megapixels ({size}): reduce or crop it first")


def _rgb(image: Image) -> Image:
    """Return a copy as RGB of bounded size; a large image is not copied whole more than once."""
    if image.mode in _DEEP_MODES:
        return _bounded(_stretched(image)).convert("RGB")
    return _bounded(image).convert("RGB") if image.mode == "RGB" else _bounded(image.convert("RGB"))


def _stretched(image: Image) -> Image:
    """Return deep greyscale as 8 bits, from its darkest to its brightest pixel; some rows at a time."""
    import numpy as np  # for deep greyscale only
    from PIL import Image as Images

    pixels = np.asarray(image)
    starts = range(0, len(pixels), _ROWS)

    def rows(start: int) -> NDArray[np.float32]:
        return np.nan_to_num(pixels[start : start + _ROWS].astype(np.float32))

    darkest = min(float(rows(start).min()) for start in starts)
    span = max(max(float(rows(start).max()) for start in starts) - darkest, 1e-12)
    grey = np.empty(pixels.shape, dtype=np.uint8)
    for start in starts:
        grey[start : start + _ROWS] = ((rows(start) - np.float32(darkest)) / span * 255).round()
    return Images.fromarray(grey)


def _bounded(image: Image) -> Image:
    width, height = image.size
    scale = min(1.0, LONGEST_SIDE_PX / max(width, height))
    size = tuple(max(SHORTEST_SIDE_PX, round(side * scale)) for side in (width, height))
    return image if size == image.size else image.resize((size[0], size[1]))
