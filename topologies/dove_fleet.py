"""Two Doves that follow each other over two stations, and capture more than their links could carry."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import Camera, Constellation, Scenario, run_as_script
from traces import FLOCK_TLE, parse_utc

LOAD = 1.4  # size of all images over what the links carry: the policy has to answer some on board


def scenario() -> Scenario:
    """Run two Doves over two stations; they capture more than their links could carry."""
    sky = Constellation(
        elements=FLOCK_TLE,
        patterns=("FLOCK 2P-1", "FLOCK 2P-12"),
        stations=("Svalbard", "Tromso"),
        start=parse_utc("2018-01-20T14:39:00Z"),
        length_s=240,
        elevation_mask_deg=10,
    )
    camera = Camera(folder=FIRST_LIGHT, every_s=2, until_s=200, min_sun_deg=None)  # polar night
    sky = sky.at_load(LOAD, camera)
    return Scenario(
        name=Path(__file__).stem,
        description="Two Doves over Svalbard and Tromso on 20 January 2018, with too many images.",
        satellites=sky.satellites(camera, model=str(COMPACT), accept_confidence=0.75, send_order="newest"),
        stations=sky.ground_stations(model=str(REGULAR)),
        links=sky.links(),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
