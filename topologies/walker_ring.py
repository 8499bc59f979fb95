"""A ring of eight satellites and one station: each reaches mission control through its neighbours."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import Camera, Constellation, MissionControl, RadioChanges, Scenario, run_as_script
from traces import parse_utc


def scenario() -> Scenario:
    """Run a ring of eight satellites that relay to one station."""
    ring = Constellation(
        elements="53:8/1/0@1000",  # 8 satellites in one plane, inclined by 53 degrees, 1000 km up
        patterns=("*",),
        stations=("Neustrelitz",),
        start=parse_utc("2018-01-20T00:00:00Z"),
        length_s=90,  # one of the two satellites that the station sees leaves at 65 s
        downlink=RadioChanges(rate_cap_bit_s=4e6),
        relayed=True,
    )
    camera = Camera(folder=FIRST_LIGHT, every_s=20, until_s=60, min_sun_deg=None)
    return Scenario(
        name=Path(__file__).stem,
        description="Eight satellites in a ring, of which two at most see the station.",
        satellites=ring.satellites(camera, model=str(COMPACT), accept_confidence=0.75),
        stations=ring.ground_stations(),
        links=ring.links(),
        crosslinks=ring.crosslinks(max_range_m=6000e3),  # neighbours are 5640 km apart
        mission_control=MissionControl(place="52.5,13.4,40", model=str(REGULAR)),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
