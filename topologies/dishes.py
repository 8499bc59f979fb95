"""Two Doves want the one dish of Svalbard: it goes to the one with more on board, and none loses an image."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import Camera, Constellation, RadioChanges, Scenario, run_as_script
from traces import FLOCK_TLE, parse_utc


def scenario() -> Scenario:
    """Run two Doves over a station with one dish."""
    sky = Constellation(
        elements=FLOCK_TLE,
        patterns=("FLOCK 2P-1", "FLOCK 2P-12"),
        stations=("Svalbard",),
        start=parse_utc("2018-01-20T14:39:40Z"),  # the second rises after 28 s, the first sets after 195 s
        length_s=300,
        elevation_mask_deg=10,
        downlink=RadioChanges(rate_cap_bit_s=1e6),
    )
    camera = Camera(folder=FIRST_LIGHT, every_s=10, until_s=150, min_sun_deg=None)  # polar night
    return Scenario(
        name=Path(__file__).stem,
        description="Two Doves over one dish at Svalbard on 20 January 2018.",
        satellites=sky.satellites(
            camera, model=str(COMPACT), accept_confidence=1.0
        ),  # every image comes down
        stations=sky.ground_stations(model=str(REGULAR), dishes=1, slew_s=5),
        links=sky.links(),
        scheduler="most-backlog",
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
