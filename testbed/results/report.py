"""`report.html`: one self-contained file with pictures and tables of a run."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from nodes.contract.files import IMAGE_FORMATS
from nodes.contract.latency import LABELS, PARTS
from testbed.results import drawings
from testbed.results.results import Results
from testbed.scenario.model import Scenario
from traces.trace import Trace

LARGEST_PIXELS = 100_000_000  # as for a node (nodes/vlm/image.py)
_TEMPLATES = Path(__file__).parent / "data"


def render(
    results: Results,
    scenario: Scenario,
    traces: Mapping[str, Trace],
    tracks: Sequence[drawings.Track],
    kept: Path,
) -> str:
    """Return the report as HTML; `kept` is the folder of drawings of what was sent, if there are any."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    images = {name: _thumbnail(frame.image) for name, frame in scenario.frames().items()}
    return environment.get_template("report.html.j2").render(
        results=results,
        totals=results.totals(),
        verdict=results.verdict,
        warnings=results.warnings(),
        scenario=scenario,
        traces=traces,
        images=images,
        kept={name: picture for name in images if (picture := _thumbnail(kept / f"{name}.jpg", 320))},
        parts=list(LABELS.items()),
        timeline=drawings.timeline(results.frames, list(traces.values())),
        link_records=[
            (link.summary(), drawings.link_record(link, traces[link.link])) for link in results.links
        ],
        ground_track=drawings.ground_track(tracks) if tracks else None,
        note=results.note,
        rows=_rows(results),
    )


def _rows(results: Results) -> list[dict[str, Any]]:
    return [
        {"frame": f, "parts_s": [getattr(f.latency, name) for name in PARTS] if f.latency else None}
        for f in results.frames
    ]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image without Pillow's warnings about large or damaged ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            yield image


def _thumbnail(path: Path, side_px: int = 80) -> str:
    """Return a small JPEG as a data URL; an empty string for a file that is no picture, or a huge one."""
    try:
        with _opened(path) as image:
            if image.width * image.height > LARGEST_PIXELS:
                return ""
            small = image if image.mode in ("RGB", "L") else image.convert("RGB")
            small.thumbnail((side_px, side_px))  # a JPEG is reduced as it is decoded
            small = small.convert("RGB")
    except Exception:  # Pillow's decoders raise many types for damaged bytes; the frame has its reason
        return ""
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
