"""`report.html`: one self-contained file with pictures and tables of a run."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import jinja2
from PIL import Image, ImageFile

from nodes.contract.files import IMAGE_FORMATS, has_too_many_scans
from nodes.contract.latency import LABELS, PARTS
from testbed.results import drawings
from testbed.results.dishes import turn_rows, use_rows
from testbed.results.frames.drawing import SIDE_PX, regions_svg
from testbed.results.latency import FrameResult
from testbed.results.results import Results
from testbed.results.summary.plain_words import plain_answers
from testbed.results.tasks import QUESTION_LABELS
from testbed.scenario.model import Scenario
from traces.trace import Trace

LARGEST_PIXELS = 100_000_000  # as for a node (nodes/vlm/image.py)
PICTURED_MAX = 200  # frames with pictures, and in the timeline; the table has all
LINKS_DRAWN_MAX = 20  # of more, those that were measured: a drawing takes half a second
POWERS_DRAWN_MAX = 20
_TEMPLATES = Path(__file__).parent / "data"


def render(
    results: Results,
    scenario: Scenario,
    traces: Mapping[str, Trace],
    tracks: Sequence[drawings.Track],
    kept: Path,
    ways: Mapping[str, Trace] | None = None,
) -> str:
    """Return the report as HTML.

    Args:
        results: the figures.
        scenario: what was run.
        traces: what each link followed.
        tracks: ground tracks.
        kept: the folder of drawings of what was sent, if there are any.
        ways: the ways of satellites to mission control as traces, by the names of their records.
    """
    records = (*results.links, *results.ways)
    measured = [link for link in records if link.rtt or link.down_rate or link.up_rate]
    drawn = records if len(records) <= LINKS_DRAWN_MAX else measured
    followed = {**traces, **(ways or {})}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    frames = scenario.frames()
    shown = _pictured(results.frames)
    images = {f.frame: _thumbnail(frames[f.frame].image) for f in shown if f.frame in frames}
    return environment.get_template("report.html.j2").render(
        results=results,
        answers=plain_answers(results),
        verdict=results.verdict,
        warnings=results.warnings(),
        scenario=scenario,
        traces=traces,
        images=images,
        decided=[f for f in shown if f.decision is not None and f.decision.stages],
        looked={f.frame: _looked(f, frames[f.frame].image) for f in shown if f.frame in frames},
        kept={name: picture for name in images if (picture := _thumbnail(kept / f"{name}.jpg", 320))},
        parts=list(LABELS.items()),
        question_parts=list(QUESTION_LABELS.items()),
        timeline=drawings.timeline(shown, list(traces.values()), results.faults),
        not_pictured=len(results.frames) - len(shown),
        link_records=[
            (link.summary(), drawings.link_record(link, followed[link.link]) if link in drawn else None)
            for link in records
        ],
        ground_track=drawings.ground_track(tracks) if tracks else None,
        powers=[
            (power.line(), drawings.power_record(power) if number < POWERS_DRAWN_MAX else None)
            for number, power in enumerate(results.powers)
        ],
        note=results.note,
        rows=_rows(results),
        dish_tables=[rows for rows in (turn_rows(results.dishes), use_rows(results.dish_uses)) if rows],
    )


def _pictured(frames: Sequence[FrameResult]) -> list[FrameResult]:
    """Return the frames that are drawn: all, or of too many those that failed first, then the slowest."""
    if len(frames) <= PICTURED_MAX:
        return list(frames)
    worst = sorted(frames, key=lambda f: (f.failure is None, -(f.end_to_end_s or float("inf"))))
    chosen = {f.frame for f in worst[:PICTURED_MAX]}
    return [f for f in frames if f.frame in chosen]


def _rows(results: Results) -> list[dict[str, Any]]:
    return [
        {"frame": f, "parts_s": [getattr(f.latency, name) for name in PARTS] if f.latency else None}
        for f in results.frames
    ]


def _looked(frame: FrameResult, image: Path) -> str:
    """Return a drawing of where the compact model looked; empty for a frame that was not sent as regions."""
    regions = None if frame.decision is None else frame.decision.regions
    return "" if regions is None else regions_svg(regions, _thumbnail(image, SIDE_PX))


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image without Pillow's warnings about large or damaged ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            yield image


def _thumbnail(path: Path, side_px: int = 80) -> str:
    """Return a small JPEG as a data URL; an empty string where there is none."""
    data = thumbnail(path, side_px)
    return "" if data is None else "data:image/jpeg;base64," + base64.b64encode(data).decode()


def thumbnail(path: Path, side_px: int) -> bytes | None:
    """Return a small JPEG; None for a file that is no picture, or a huge one."""
    try:
        with _opened(path) as image:
            if image.width * image.height > LARGEST_PIXELS:
                return None
            if has_too_many_scans(image.format, cast("BinaryIO", image.fp)):
                return None
            small: Image.Image = image if image.mode in ("RGB", "L") else image.convert("RGB")
            small.thumbnail((side_px, side_px))  # a JPEG is reduced as it is decoded
            small = small.convert("RGB")
    except Exception:  # Pillow's decoders raise many types for damaged bytes; the frame has its reason
        return None
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return data.getvalue()
