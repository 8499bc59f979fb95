"""A satellite that no station sees relays through others: at first through one, then through two."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import (
    GroundStation,
    InterSatelliteLink,
    Link,
    MissionControl,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    Sight,
    read_frames,
    run_as_script,
)
from traces import FLOCK_TLE, parse_utc

START = parse_utc("2018-01-20T14:39:46Z")
LENGTH_S = 30
# Three Doves one behind the other, and what each captures. The first has left Svalbard's view, the second
# leaves it at 12 s, and the third stays.
CAPTURES_S = {"FLOCK 3P-50": (1, 2, 3, 4), "FLOCK 3P-52": (1,), "FLOCK 2P-1": (1,)}


def scenario() -> Scenario:
    """Run three Doves in a row, of which the first relays its images through the others."""
    first, second, third = CAPTURES_S
    return Scenario(
        name=Path(__file__).stem,
        description="FLOCK 3P-50 relays to Svalbard through one Dove, and then through two.",
        satellites=tuple(
            Satellite(
                name=name,
                model=str(COMPACT),
                frames=tuple(
                    frame.model_copy(update={"frame": f"{name.split()[1]}-{frame.frame}"})
                    for frame in read_frames(FIRST_LIGHT, times_s)
                ),
                accept_confidence=1.0,  # offload every frame
            )
            for name, times_s in CAPTURES_S.items()
        ),
        stations=(GroundStation(name="Svalbard"),),
        links=tuple(
            Link(
                satellite=name,
                station="Svalbard",
                follows=Orbit(
                    elements=FLOCK_TLE,
                    start=START,
                    length_s=LENGTH_S,
                    # Slow enough that images are in transfer when the route changes.
                    downlink=RadioChanges(rate_cap_bit_s=300e3),
                ),
            )
            for name in (second, third)
        ),
        crosslinks=tuple(
            InterSatelliteLink(
                a=a, b=b, follows=Sight(elements=FLOCK_TLE, start=START, length_s=LENGTH_S, rate_bit_s=10e6)
            )
            for a, b in ((first, second), (second, third))
        ),
        mission_control=MissionControl(place="59.91,10.75,20", model=str(REGULAR)),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
