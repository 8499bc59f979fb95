"""Two stations forward to mission control: an image begun over one of them goes on over the other."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import (
    GroundStation,
    Link,
    MissionControl,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    TerrestrialLink,
    read_frames,
    run_as_script,
)
from traces import FLOCK_TLE, parse_utc

CAPTURES_S = range(1, 5)
# Elevation masks of the stations: Svalbard's pass ends at 6.3 s, Tromso's lasts longer.
MASKS_DEG = {"Svalbard": 35.0, "Tromso": 7.0}


def follows(elevation_mask_deg: float) -> Orbit:
    """Return the orbit over a station, from a time at which both stations see the satellite."""
    return Orbit(
        elements=FLOCK_TLE,
        start=parse_utc("2018-01-20T14:40:14Z"),
        length_s=30,
        elevation_mask_deg=elevation_mask_deg,
        # Slow enough that an image is in transfer when the route changes.
        downlink=RadioChanges(rate_cap_bit_s=300e3),
    )


def scenario() -> Scenario:
    """Run a real pass over two stations that forward to mission control."""
    return Scenario(
        name=Path(__file__).stem,
        description="FLOCK 2P-1 goes from Svalbard to Tromso, and talks to mission control all the time.",
        satellites=(
            Satellite(
                name="FLOCK 2P-1",
                model=str(COMPACT),
                frames=read_frames(FIRST_LIGHT, CAPTURES_S),
                accept_confidence=1.0,  # offload every frame
            ),
        ),
        stations=tuple(GroundStation(name=name) for name in MASKS_DEG),
        links=tuple(
            Link(satellite="FLOCK 2P-1", station=name, follows=follows(mask_deg))
            for name, mask_deg in MASKS_DEG.items()
        ),
        # The same delay from both stations: the satellite's distance decides, until its pass is about to end.
        mission_control=MissionControl(
            model=str(REGULAR),
            links=tuple(TerrestrialLink(station=name, delay_s=0.012) for name in MASKS_DEG),
        ),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
