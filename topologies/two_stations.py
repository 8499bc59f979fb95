"""One real Dove pass that two stations see: images begun over Svalbard end at Tromso."""

from pathlib import Path

from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT, REGULAR
from testbed.cli.run import main
from testbed.scenario.model import (
    GroundStation,
    Link,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    read_frames,
    utc,
)
from traces.orbits.tle import FLOCK_TLE

CAPTURES_S = range(1, 17)
# Each dish tracks above its own elevation: Svalbard's pass ends 40 s into the run, while Tromso sees on.
MASKS_DEG = {"Svalbard": 35.0, "Tromso": 7.0}


def follows(elevation_mask_deg: float) -> Orbit:
    """The orbit over a station, from a moment at which both see the satellite."""
    return Orbit(
        elements=FLOCK_TLE,
        start=utc("2018-01-20T14:39:40Z"),
        length_s=80,
        elevation_mask_deg=elevation_mask_deg,
        # So narrow that an image takes seconds, and some is under way at the hand-over.
        downlink=RadioChanges(rate_cap_bit_s=100e3),
    )


def scenario() -> Scenario:
    """One real Dove pass that two stations see: images begun over Svalbard end at Tromso."""
    return Scenario(
        name=Path(__file__).stem,
        description="FLOCK 2P-1 flies from Svalbard's sky into Tromso's on 20 January 2018.",
        satellites=(
            Satellite(
                name="FLOCK 2P-1",
                model=str(COMPACT),
                frames=read_frames(FIRST_LIGHT, CAPTURES_S),
                accept_confidence=1.0,  # all go to the ground
            ),
        ),
        stations=tuple(GroundStation(name=name, model=str(REGULAR)) for name in MASKS_DEG),
        # In order of preference: the satellite sends to the first that it sees.
        links=tuple(
            Link(satellite="FLOCK 2P-1", station=name, follows=follows(mask_deg))
            for name, mask_deg in MASKS_DEG.items()
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main(scenario))
