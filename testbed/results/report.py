"""`report.html`: one self-contained file with pictures and tables of a run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image, UnidentifiedImageError

from nodes.contract.latency import LABELS, PARTS
from testbed.results import drawings
from testbed.results.results import Results
from testbed.scenario.model import Scenario
from traces.trace import Trace

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


def _thumbnail(path: Path, side_px: int = 80) -> str:
    """Return a small JPEG as a data URL; an empty string for a file that is not a picture."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return ""
    small.thumbnail((side_px, side_px))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
