"""A day of a 6U cubesat whose computer needs more energy than its solar panels give."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import Camera, Constellation, Scenario, run_as_script
from traces import FLOCK_TLE, parse_utc

DAY_S = 24 * 3600
PROFILES = Path(__file__).parent / "profiles"  # estimates: scenes of many tiles on board, a GPU on the ground


def scenario() -> Scenario:
    """Run a 6U for a day: inference at 20 W stops at 60 % of charge and resumes in sunlight."""
    sky = Constellation(
        elements=FLOCK_TLE,
        patterns=("FLOCK 2P-1",),
        stations=("Svalbard", "Inuvik"),
        start=parse_utc("2018-01-20T00:00:00Z"),
        length_s=DAY_S,
    )
    camera = Camera(folder=FIRST_LIGHT, every_s=120, min_sun_deg=None, until_s=DAY_S - 2 * 3600)
    return Scenario(
        name=Path(__file__).stem,
        description="A 6U in the orbit of FLOCK 2P-1 on 20 January 2018; an image every two minutes.",
        satellites=sky.satellites(
            camera,
            model=str(COMPACT),
            profile=PROFILES / "scene-on-orin.json",
            accept_confidence=0.75,
            send_order="newest",
            power="6u",
        ),
        stations=sky.ground_stations(model=str(REGULAR), profile=PROFILES / "ground-gpu.json"),
        links=sky.links(),
        answers=Path("runs/answers"),
        skip_idle=True,
    ).at_speed(2)


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
