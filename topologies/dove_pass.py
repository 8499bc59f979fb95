"""A real pass of a Dove satellite over Svalbard with more images than it can carry, end to end.

The shipped frames have some 300 times fewer bytes than those of a camera, and the link is slower in
proportion: sent as captured, they would need three times what the pass carries. The policy decides which of
them go down, and how much of each.
"""

from pathlib import Path

from nodes import COMPACT, CONFIDENCE, FIRST_LIGHT, POLICY_PARAMETERS, REGULAR
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

# Capture times of the sixteen frames in scenario seconds: five before AOS at 22.7 s, nine in the pass, two so
# near to LOS at 176.1 s that an image may not come down any more.
CAPTURES_S = (2, 6, 10, 14, 18, 30, 40, 50, 60, 70, 80, 90, 100, 110, 169, 171)


def scenario() -> Scenario:
    """Fly `spaceverse` over a pass that cannot carry every image."""
    return Scenario(
        name=Path(__file__).stem,
        description="FLOCK 2P-1 rises over Svalbard on 20 January 2018.",
        satellites=(
            Satellite(
                name="FLOCK 2P-1",
                model=str(COMPACT),
                frames=read_frames(FIRST_LIGHT, CAPTURES_S),
                policy="spaceverse",
                policy_parameters=POLICY_PARAMETERS,
                confidence=CONFIDENCE,
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
                    downlink=RadioChanges(rate_cap_bit_s=30e3),
                ),
            ),
        ),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
