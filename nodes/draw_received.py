"""Draws what was received of each frame that was not sent as captured.

A run starts it after the last answer, so that drawing delays no frame.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from nodes.errors import ImageError, PayloadError
from nodes.onboard.message import read_regions, received_frame
from nodes.regions.drawing import draw_kept
from nodes.transfer.inbox import complete_items

SIDE_PX = 448
_FILE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")


def draw_inbox(inbox: Path, folder: Path) -> list[Path]:
    """Draw into `<folder>/<frame>.jpg` and return the files; unreadable items are left out.

    Regions with native pixels are framed green, reduced ones amber; all others are dimmed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for manifest, data in complete_items(inbox):
        form = str(manifest.metadata.get("form", "whole"))
        if manifest.kind != "image" or form == "whole":
            continue
        try:
            drawing = _drawing(form, data)
        except (ImageError, PayloadError, OSError):
            continue  # the ground station has reported it
        named = _FILE_NAME.fullmatch(manifest.frame)
        path = folder / f"{manifest.frame if named else manifest.item_id.hex()}.jpg"
        drawing.save(path, "JPEG", quality=85)
        made.append(path)
    return made


def _drawing(form: str, data: Path) -> Image.Image:
    if form == "regions":
        return draw_kept(read_regions(data), side_px=SIDE_PX)
    image = received_frame(form, data)
    scale = SIDE_PX / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST)  # so that its pixels can be seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nodes.draw_received",
        description="Draw what a ground station received of each frame that was not sent as captured.",
        epilog="example:\n  python -m nodes.draw_received runs/20261125T120000-dove_pass/inbox drawings/\n\n"
        "exit status: 0 done, 2 no such inbox",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inbox", type=Path, help="inbox folder of a ground station")
    parser.add_argument("folder", type=Path, help="output folder")
    options = parser.parse_args(arguments)
    if not options.inbox.is_dir():
        print(f"draw_received: no inbox at {options.inbox}: pass a ground station's folder", file=sys.stderr)
        return 2
    print(f"{len(draw_inbox(options.inbox, options.folder))} drawings in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
