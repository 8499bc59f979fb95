"""A burst over a disaster area before the pass, the most urgent images first, and a question by uplink."""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import (
    GroundStation,
    Link,
    MissionControl,
    Orbit,
    Question,
    RadioChanges,
    Satellite,
    Scenario,
    read_frames,
    run_as_script,
)
from traces import FLOCK_TLE, parse_utc

ROUTINE_S = (1, 2)
BURST_S = range(4, 14)  # ten images of the disaster area, one a second; AOS is at 22.7 s
URGENT_S = 90  # what a relief team cannot use later than this after the capture

frames = read_frames(FIRST_LIGHT, (*ROUTINE_S, *BURST_S))
urgent = tuple(frame.model_copy(update={"expires_after_s": URGENT_S}) for frame in frames[len(ROUTINE_S) :])
follow_up = Question(
    at_s=18,  # out of contact
    satellite="FLOCK 2P-1",
    name="follow-up",
    frame=frames[1].frame,
    prompt="Is there any forest in this image?",
    truth="yes",
    expires_after_s=URGENT_S,
)


def scenario() -> Scenario:
    """Run a pass after a burst; mission control asks a further question before it."""
    return Scenario(
        name=Path(__file__).stem,
        description="Before it rises over Svalbard, FLOCK 2P-1 takes a burst, and mission control asks more.",
        satellites=(
            Satellite(
                name="FLOCK 2P-1",
                model=str(COMPACT),
                frames=(*frames[: len(ROUTINE_S)], *urgent),
                accept_confidence=1.0,  # every image comes down
                send_order="deadline",
            ),
        ),
        stations=(GroundStation(name="Svalbard"),),
        links=(
            Link(
                satellite="FLOCK 2P-1",
                station="Svalbard",
                follows=Orbit(
                    elements=FLOCK_TLE,
                    start=parse_utc("2018-01-20T14:37:47Z"),
                    length_s=90,
                    elevation_mask_deg=30,
                    downlink=RadioChanges(rate_cap_bit_s=4e6),
                ),
            ),
        ),
        mission_control=MissionControl(place="59.91,10.75,20", model=str(REGULAR)),
        tasks=(follow_up,),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
