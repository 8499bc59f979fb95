"""Where the compact model looked on a frame and which regions went down, as SVG."""

from __future__ import annotations

from html import escape

from testbed.results.frames.decision import KeptRegions, Outcome

SIDE_PX = 320
_FRAMES: dict[Outcome, str] = {"own": "#009E73", "reduced": "#E69F00"}
_NAMES: dict[Outcome, str] = {
    "own": "sent at full resolution",
    "reduced": "sent at reduced resolution",
    "overview": "not sent: in the overview only",
}


def regions_svg(regions: KeptRegions, picture: str) -> str:
    """Return the frame with its regions: the less relevant, the darker; those that were sent have a frame.

    Args:
        regions: The regions.
        picture: The frame as a data URL; empty if there is none.

    Returns:
        The SVG; empty where the regions cannot be drawn.
    """
    cells = regions.cells()
    if not cells:
        return ""
    wide, high = SIDE_PX / regions.columns, SIDE_PX / regions.rows
    image = (
        f'<image href="{escape(picture)}" width="{SIDE_PX}" height="{SIDE_PX}" preserveAspectRatio="none"/>'
        if picture
        else ""
    )
    parts = []
    for column, row, relevance, outcome in cells:
        frame = _FRAMES.get(outcome)
        stroke = f'stroke="{frame}" stroke-width="4"' if frame else 'stroke="#fff" stroke-opacity="0.3"'
        parts.append(
            f'<rect x="{column * wide + 2:.1f}" y="{row * high + 2:.1f}" width="{wide - 4:.1f}" '
            f'height="{high - 4:.1f}" fill="#000" fill-opacity="{0.65 * (1 - relevance):.2f}" {stroke}>'
            f"<title>relevance {relevance:.2f}; {_NAMES[outcome]}</title></rect>"
        )
    return (
        f'<svg viewBox="0 0 {SIDE_PX} {SIDE_PX}" role="img" '
        f'aria-label="{regions.text} regions sent">{image}{"".join(parts)}</svg>'
    )
