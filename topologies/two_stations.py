"""A real pass of a Dove satellite over two stations: transfers begin at Svalbard and end at Tromso."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import (
    GroundStation,
    Link,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    read_frames,
    run_as_script,
)
from traces import FLOCK_TLE, parse_utc

CAPTURES_S = range(1, 7)  # six images of 0.64 MB, two thirds of what the links carry
# Elevation masks of the stations: Svalbard's pass ends at 40 s, Tromso's lasts longer.
MASKS_DEG = {"Svalbard": 35.0, "Tromso": 7.0}


def follows(elevation_mask_deg: float) -> Orbit:
    """Return the orbit over a station, from a time at which both stations see the satellite."""
    return Orbit(
        elements=FLOCK_TLE,
        start=parse_utc("2018-01-20T14:39:40Z"),
        length_s=80,
        elevation_mask_deg=elevation_mask_deg,
        # Slow enough that an image is in transfer when the first contact ends.
        downlink=RadioChanges(rate_cap_bit_s=100e3),
    )


def scenario() -> Scenario:
    """Run a real pass over two stations: transfers begin at Svalbard and end at Tromso."""
    return Scenario(
        name=Path(__file__).stem,
        description="FLOCK 2P-1 leaves Svalbard's view and continues to Tromso on 20 January 2018.",
        satellites=(
            Satellite(
                name="FLOCK 2P-1",
                model=str(COMPACT),
                frames=read_frames(FIRST_LIGHT, CAPTURES_S),
                accept_confidence=1.0,  # offload every frame
            ),
        ),
        stations=tuple(GroundStation(name=name, model=str(REGULAR)) for name in MASKS_DEG),
        # In order of preference: the satellite sends to the first station in view.
        links=tuple(
            Link(satellite="FLOCK 2P-1", station=name, follows=follows(mask_deg))
            for name, mask_deg in MASKS_DEG.items()
        ),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
