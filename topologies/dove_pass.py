"""A real pass of a Dove satellite over Svalbard, end to end."""

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

# Capture times of the sixteen frames in scenario seconds: five before AOS at 22.7 s, eleven in the pass.
CAPTURES_S = (2, 6, 10, 14, 18, 30, 40, 50, 60, 70, 80, 90, 100, 110, 125, 140)


def scenario() -> Scenario:
    """Run a real pass of a Dove satellite over Svalbard, end to end."""
    return Scenario(
        name=Path(__file__).stem,
        description="FLOCK 2P-1 rises over Svalbard on 20 January 2018.",
        satellites=(
            Satellite(
                name="FLOCK 2P-1",
                model=str(COMPACT),
                frames=read_frames(FIRST_LIGHT, CAPTURES_S),
                accept_confidence=0.75,
            ),
        ),
        stations=(GroundStation(name="Svalbard", model=str(REGULAR)),),
        links=(
            Link(
                satellite="FLOCK 2P-1",
                station="Svalbard",
                follows=Orbit(
                    elements=FLOCK_TLE,
                    start=parse_utc("2018-01-20T14:37:47Z"),
                    length_s=180,
                    # The pass above 5 degrees lasts 529 s; its part above 30 degrees suffices here.
                    elevation_mask_deg=30,
                    downlink=RadioChanges(rate_cap_bit_s=4e6),
                ),
            ),
        ),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
