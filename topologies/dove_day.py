"""A day of twenty Doves over five stations, in minutes: more images than their links could carry."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import Camera, Constellation, Scenario, run_as_script
from traces import FLOCK_TLE, parse_utc

DAY_S = 24 * 3600
LOAD = 1.4  # size of all images over what the links carry
PROFILES = Path(__file__).parent / "profiles"  # estimates: a small board and a GPU on the ground


def scenario() -> Scenario:
    """Run twenty Doves for a day, faster than real time and without idle time."""
    sky = Constellation(
        elements=FLOCK_TLE,
        patterns=("FLOCK 2P-*", "FLOCK 3P-*"),
        stations=("Svalbard", "Inuvik", "Tromso", "Awarua", "Hartebeesthoek"),
        start=parse_utc("2018-01-20T00:00:00Z"),
        length_s=DAY_S,
        count=20,
        elevation_mask_deg=10,
    )
    camera = Camera(folder=FIRST_LIGHT, every_s=130, until_s=DAY_S - 2 * 3600)  # by daylight
    sky = sky.at_load(LOAD, camera, dishes=4)
    return Scenario(
        name=Path(__file__).stem,
        description="Twenty Doves over five stations with four dishes each on 20 January 2018.",
        satellites=sky.satellites(
            camera,
            model=str(COMPACT),
            profile=PROFILES / "small-board.json",
            policy="spaceverse",
            send_order="newest",
        ),
        stations=sky.ground_stations(model=str(REGULAR), profile=PROFILES / "ground-gpu.json", dishes=4),
        links=sky.links(),
        probe=tuple(link.name for link in sky.links() if link.satellite == sky.names[0]),
        link_error_bound_s=2e-3,
        answers=Path("runs/answers"),
        skip_idle=True,
    ).at_speed("auto")


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
