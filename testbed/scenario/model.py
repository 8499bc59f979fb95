"""A scenario as data: satellites, ground stations, links, frames and prompts.

Building these objects has no effect on the machine. Unknown fields are rejected: a misspelled field is an
error and not a silent default.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from nodes.contract.config import FRAMES_KEPT_BYTES, ModelRun, Name, PolicyChoice
from nodes.contract.evaluation import profile_path
from nodes.contract.files import is_policy_file
from nodes.contract.power.parameters import Power
from nodes.contract.power.presets import power_preset
from nodes.contract.strict import Text, problems_of
from nodes.contract.topics import slug
from testbed.errors import ScenarioError
from testbed.scenario.dishes.schedulers import known_scheduler
from testbed.scenario.faults import Fault, check_weights, fault_problem
from testbed.scenario.programs import OwnProgram
from testbed.scenario.tasks import NetworkChange, Question, Task, task_problem
from traces.orbits.stations import DEFAULT_MASK_DEG
from traces.orbits.walker import WALKER_TEXT
from traces.terrestrial import DETOUR, TERRESTRIAL_BIT_S

# Absolute, so that a run's scenario.json can be run again from any folder.
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]


def _absolute_file(name: str) -> str:
    """Return a policy's name unchanged, and the absolute path of a policy's file."""
    return str(Path(name).absolute()) if is_policy_file(name) else name


PolicyName = Annotated[str, Field(min_length=1), AfterValidator(_absolute_file)]
SchedulerName = Annotated[str, AfterValidator(known_scheduler)]
ShaperName = Literal["auto", "nfqueue", "netem"]
# Half a turn in azimuth at 10 degrees a second, and 12 s until the receiver has locked.
SLEW_S = 30.0
RouteName = Annotated[str, Field(pattern=r"^(delay|data|.+\.py)$"), AfterValidator(_absolute_file)]
Elements = Annotated[str, Field(pattern=WALKER_TEXT)] | AbsolutePath


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Frame(_Data):
    """An image to capture and the question to ask about it.

    Args:
        frame: unique short name.
        image: image file as the camera writes it; offloaded byte for byte.
        prompt: question about the image.
        truth: correct answer; used for scoring only and never given to a node.
        also_right: further correct answers, such as synonyms.
        capture_s: scenario time of the capture, in seconds.
        kind: category of the prompt, for tables.
        expires_after_s: time after the capture from which the answer is worthless and nothing more of it is
            sent. None: never.
        value: worth of the answer beside that of other frames, for the send order "value".
    """

    frame: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    image: AbsolutePath
    prompt: Text = Field(min_length=1)
    truth: Text
    also_right: tuple[Text, ...] = ()
    capture_s: float = Field(ge=0)
    kind: Text = ""
    expires_after_s: float | None = Field(default=None, gt=0)
    value: float = Field(default=1.0, ge=0)


class RadioChanges(_Data):
    """Changes to a preset's link budget in one direction; None keeps the preset's value.

    The fields and units are those of `traces.radio.link_budget.RadioLink`. Set `rate_cap_bit_s` to limit the
    link's rate.
    """

    carrier_hz: float | None = None
    eirp_dbw: float | None = None
    g_over_t_db_k: float | None = None
    symbol_rate_hz: float | None = None
    losses_db: float | None = None
    margin_db: float | None = None
    roll_off: float | None = None
    hysteresis_db: float | None = None
    rate_cap_bit_s: float | None = None


class Orbit(_Data):
    """A trace computed from orbital elements and a link budget.

    Args:
        elements: file of element sets (TLE, 3LE or OMM), or a Walker constellation such as
            "53:24/3/1@550" (see `traces.orbits.walker`), whose epoch is `start`.
        start: UTC time of scenario second 0; see `traces.parse_utc`.
        length_s: length of the trace, in seconds.
        elevation_mask_deg: lowest elevation of a contact.
        radio: preset of the link budget; see `traces.radio.link_budget`.
        downlink: changes to the preset's downlink.
        uplink: changes to the preset's uplink.
    """

    elements: Elements
    start: AwareDatetime
    length_s: float = Field(gt=0, le=7 * 86400)
    elevation_mask_deg: float = Field(default=DEFAULT_MASK_DEG, ge=0, lt=90)
    radio: str = "dove"
    downlink: RadioChanges = RadioChanges()
    uplink: RadioChanges = RadioChanges()


class Recorded(_Data):
    """A trace made of a recording, in any format that `spaceverse replay` detects.

    Args:
        file: the recording.
        down_bit_s: rate from satellite to station; replaces a recorded one.
        up_bit_s: rate from station to satellite; replaces a recorded one.
        delay_s: one-way delay of the directions without a recorded one.
        loss: probability that a packet is lost, for the directions without a recorded one.
        begin_s: the second of the recording that is scenario second 0.
        length_s: length of the trace; None: to the recording's end.
    """

    file: AbsolutePath
    down_bit_s: float | None = Field(default=None, gt=0, le=1e12)
    up_bit_s: float | None = Field(default=None, gt=0, le=1e12)
    delay_s: float | None = Field(default=None, ge=0, le=60)
    loss: float | None = Field(default=None, ge=0, le=1)
    begin_s: float = Field(default=0.0, ge=0)
    length_s: float | None = Field(default=None, gt=0)


# A validator before the path's own would return a Path, which is refused in JSON.
ProfilePath = Annotated[Path, AfterValidator(profile_path)]


def _power_by_name(value: Any) -> Any:
    return power_preset(value) if isinstance(value, str) else value


class Satellite(ModelRun, PolicyChoice):
    """A satellite and the program that runs on it.

    Args:
        name: satellite name; must match the element file if a link follows an orbit.
        model: model name or folder, loaded by the satellite's program, or a server's address:
            openai:http://HOST:PORT/v1. On a board the server must be on the board: openai:http://127.0.0.1:PORT/v1.
        frames: images that the satellite captures.
        policy: name of a policy, or a Python file that defines one; checked by the satellite's program.
        policy_parameters: the policy's parameters, or a JSON file of parameters by policy name, such as an
            evaluation's `policies.json`.
        accept_confidence: confidence threshold, 0 to 1: the policy parameter of this name.
        confidence: folder of a trained confidence network, such as an evaluation's `confidence/`.
        send_order: order in which images that wait for a contact are sent: "oldest", "newest", "value" or
            "deadline" first.
        device, dtype, quantisation, attention_implementation, min_pixels, max_pixels, revision: how the model
            runs; see `nodes.ModelOptions`.
        model_threads: CPU threads for inference.
        max_new_tokens: longest answer, in tokens.
        profile: measured inference times of a board (`python -m nodes.profile`), or the name of a shipped
            profile; delays its answers.
        board: inventory name of a physical board that replaces the emulated host.
        programs: programs and containers of the user's own that run on it; not on a board.
        frames_kept_bytes: size of the captured images that it keeps where a `Question` of the scenario may
            come up; new ones displace the oldest.
        power: its solar panels, battery, loads and temperature: a `Power`, or the name of one ("3u", "6u",
            "dove"). None: power without limit. One of its links must follow an orbit.
    """

    name: Name
    frames: tuple[Frame, ...] = Field(min_length=1)
    policy: PolicyName = "offload-after"
    policy_parameters: dict[str, Any] | AbsolutePath = Field(default={})
    confidence: AbsolutePath | None = None
    profile: ProfilePath | None = None
    board: str | None = None
    frames_kept_bytes: int = Field(default=FRAMES_KEPT_BYTES, ge=0)
    programs: tuple[OwnProgram, ...] = ()
    power: Annotated[Power, BeforeValidator(_power_by_name)] | None = None

    @model_validator(mode="after")
    def _programs_are_emulated(self) -> Satellite:
        if self.board is not None and self.programs:
            raise ValueError(f"satellite {self.name!r} is a board, on which the run starts no programs")
        return self


class GroundNode(ModelRun):
    """A node on the ground: what a station and mission control have in common."""

    name: Name
    model: str = ""
    place: str | None = None
    profile: ProfilePath | None = None
    programs: tuple[OwnProgram, ...] = ()
    patience_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class GroundStation(GroundNode):
    """A ground station and the program that runs in it.

    Args:
        name: station of the catalogue in `traces.orbits.stations`, or any name if `place` is set.
        model: model name or folder of the regular model, or a server's address: openai:http://HOST:PORT/v1.
            A station without one forwards everything to mission control, and receives nothing itself.
        place: "latitude,longitude,altitude" in degrees, degrees and metres.
        device, dtype, quantisation, attention_implementation, min_pixels, max_pixels, revision: how the model
            runs; see `nodes.ModelOptions`.
        model_threads: CPU threads for inference.
        max_new_tokens: longest answer, in tokens.
        profile: measured inference times of another machine, or the name of a shipped profile; answers are
            delayed to match.
        dishes: number of satellites that it serves at once; None: as many as it has links.
        scheduler: who gets a dish; None: the scenario's scheduler.
        slew_s: time that a dish needs from one satellite to another, in seconds: to turn and to lock on.
        programs: programs and containers of the user's own that run in it.
        patience_s: seconds without a further piece of a message of regions, after which it is answered from
            the overview and the regions that have come; None: it is answered when all have come.
    """

    dishes: int | None = Field(default=None, ge=1)
    scheduler: SchedulerName | None = None
    slew_s: float = Field(default=SLEW_S, ge=0, le=600)


class TerrestrialLink(_Data):
    """A fixed link between a station and mission control.

    Args:
        station: name of the station.
        delay_s: one-way delay; None: that of a fibre along the great circle (`traces.terrestrial`).
        rate_bit_s: rate in each direction.
    """

    station: str
    delay_s: float | None = Field(default=None, ge=0, le=60)
    rate_bit_s: float = Field(default=TERRESTRIAL_BIT_S, gt=0, le=1e12)


class MissionControl(GroundNode):
    """A host behind the stations, which receives from all satellites through whichever station sees them.

    Stations without a model forward to it, and it answers with its own. Every station has a fixed link to it.

    Args:
        name: any name.
        model: as of a `GroundStation`; needed.
        place: "latitude,longitude,altitude", or the name of a station in the catalogue. Needed unless every
            link has its delay.
        links: links that differ from the default.
        rate_bit_s: rate of the others.
        detour: length of a fibre as a multiple of the great circle.
        device, dtype, quantisation, attention_implementation, min_pixels, max_pixels, revision: how the model
            runs; see `nodes.ModelOptions`.
        model_threads: CPU threads for inference.
        max_new_tokens: longest answer, in tokens.
        profile: measured inference times of another machine, or the name of a shipped profile; answers are
            delayed to match.
        patience_s: as of a `GroundStation`.
    """

    name: Name = "Mission control"
    links: tuple[TerrestrialLink, ...] = ()
    rate_bit_s: float = Field(default=TERRESTRIAL_BIT_S, gt=0, le=1e12)
    detour: float = Field(default=DETOUR, ge=1, le=10)

    def link_to(self, station: str) -> TerrestrialLink:
        """Return the link to a station."""
        own = next((link for link in self.links if link.station == station), None)
        return own or TerrestrialLink(station=station, rate_bit_s=self.rate_bit_s)


class Link(_Data):
    """A link between a satellite and a ground station.

    Args:
        satellite: name of the satellite.
        station: name of the ground station.
        follows: orbit to compute the link's trace from, a recording, or a trace file.
        on_contact_end: fate of the packets in the link when a contact ends: "purge" drops them, "hold" keeps
            them for the next contact (nfqueue only).
    """

    satellite: str
    station: str
    follows: Orbit | Recorded | AbsolutePath
    on_contact_end: Literal["purge", "hold"] = "purge"

    @property
    def name(self) -> str:
        """Name of the link in tables, files and events."""
        return f"{self.satellite} - {self.station}"

    @property
    def ends(self) -> tuple[str, str]:
        """The nodes at its ends: at the satellite's of its trace, and at the station's."""
        return self.satellite, self.station


class Sight(_Data):
    """A trace between two satellites, computed from their orbits.

    The defaults are assumptions for a small optical terminal.

    Args:
        elements: file of element sets (TLE, 3LE or OMM), or a Walker constellation; as of an `Orbit`.
        start: UTC time of scenario second 0.
        length_s: length of the trace, in seconds.
        grazing_altitude_m: lowest altitude of the line of sight.
        max_range_m: largest distance; None for any.
        max_slew_deg_s: fastest turn of a terminal, on a satellite whose one side is always down; None for
            any.
        rate_bit_s: fixed rate in both directions.
        radio: preset of a link budget instead of the fixed rate, as of an `Orbit`: its downlink, both ways.
    """

    elements: Elements
    start: AwareDatetime
    length_s: float = Field(gt=0, le=7 * 86400)
    grazing_altitude_m: float = Field(default=100e3, ge=-100e3, le=10_000e3)
    max_range_m: float | None = Field(default=5000e3, gt=0)
    max_slew_deg_s: float | None = Field(default=1.0, gt=0)
    rate_bit_s: float = Field(default=100e6, gt=0, le=1e12)
    radio: str | None = None


class InterSatelliteLink(_Data):
    """A link between two satellites.

    Args:
        a: name of a satellite, which is in the place of the satellite in the link's trace.
        b: name of another one, which is in the place of the station.
        follows: orbits to compute the link's trace from, or a trace file.
        on_contact_end: as of a `Link`.
    """

    a: str
    b: str
    follows: Sight | AbsolutePath
    on_contact_end: Literal["purge", "hold"] = "purge"

    @property
    def name(self) -> str:
        """Name of the link in tables, files and events."""
        return f"{self.a} - {self.b}"

    @property
    def ends(self) -> tuple[str, str]:
        """The satellites at its ends."""
        return self.a, self.b


class EarthLink(_Data):
    """A link of mission control, as a part of the network; made by `Scenario.earth_links`.

    Args:
        station: the station.
        mission_control: name of mission control.
        on_contact_end: as of a `Link`.
    """

    station: str
    mission_control: str
    on_contact_end: Literal["purge", "hold"] = "purge"

    @property
    def name(self) -> str:
        """Name of the link in tables, files and events."""
        return f"{self.station} - {self.mission_control}"

    @property
    def ends(self) -> tuple[str, str]:
        """The nodes at its ends."""
        return self.station, self.mission_control


AUTO = "auto"
FIRST_AUTO_SPEED = 50.0
RTT_ERROR_S = 40e-6  # real, twice the median that was measured; times the speed in scenario time
LINK_ERROR_BOUND_S = 1e-3
AnyLink: TypeAlias = Link | InterSatelliteLink | EarthLink


def highest_auto_speed(link_error_bound_s: float) -> float:
    """Return the speed at which the links' usual RTT error reaches a bound in scenario time, 1 to 200."""
    return max(1.0, min(200.0, link_error_bound_s / RTT_ERROR_S))


class Scenario(_Data):
    """Complete description of a run.

    Args:
        name: name of the scenario; part of the run folder's name.
        satellites: satellites and their programs.
        stations: ground stations and their programs.
        links: links between them, in order of each satellite's preference.
        crosslinks: links between satellites, over which those without a station relay to mission control.
        mission_control: a host behind the stations, for those that have no model of their own.
        routes: how packets find mission control: on the way with the shortest delay ("delay"), or on the one
            that carries most before it closes ("data"); or a Python file with a function
            `choose(links, root)` (`testbed.network.routes.choice`).
        shaper: "nfqueue", "netem", or "auto" for the best one that this machine supports.
        speed: seconds of scenario time in a real one, 1 to 1000. Above 1, every node needs a profile, and
            none can be a board or have a model behind a server.
        adapt_speed: whether `speed` is only the first: the run slows down where this machine does not keep
            up, and speeds up again, as far as `link_error_bound_s` allows. `speed="auto"` sets both.
        skip_idle: whether scenario time jumps to the next event whenever no node has anything to do.
        grace_s: time to wait for pending answers after the last trace ends, in seconds of scenario time, but
            at least 5 s of real time.
        link_error_bound_s: largest acceptable median RTT error of a link, in seconds of scenario time.
        probe: measure each link during the run, or those with these names, or none.
        capture: names of links whose packets are kept as captures of both ends, in the run's folder
            `captures/`. It takes processor time of the run.
        tls: encrypt the satellites' connections to the stations' brokers, with certificates made for the run.
        boards: inventory file of the physical boards (testbed/boards/inventory.py).
        description: one sentence for the report.
        answers: folder that keeps the models' answers for further runs. What is known from there is not
            computed again, and takes as long as the node's profile says: every node then needs one.
        scheduler: who gets a dish of a station that has fewer of them than satellites: "longest-pass",
            "round-robin", "most-backlog", "highest-value", or a Python file (see `DishScheduler`).
        faults: what breaks during the run: `SatelliteLost`, `StationDown`, `LinkCut`, `RateDegraded`,
            `BitFlips`.
        tasks: what the ground asks of satellites during the run, by uplink: `Question`, `Priority`,
            `PolicyChange`, `NetworkChange`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    satellites: tuple[Satellite, ...] = Field(min_length=1)
    stations: tuple[GroundStation, ...] = Field(min_length=1)
    links: tuple[Link, ...] = Field(min_length=1)
    crosslinks: tuple[InterSatelliteLink, ...] = ()
    mission_control: MissionControl | None = None
    routes: RouteName = "delay"
    shaper: ShaperName = "auto"
    speed: float = Field(default=1.0, ge=1, le=1000)
    adapt_speed: bool = False
    skip_idle: bool = False
    grace_s: float = Field(default=30.0, ge=0)
    link_error_bound_s: float = Field(default=LINK_ERROR_BOUND_S, gt=0)
    probe: bool | tuple[str, ...] = True
    capture: tuple[str, ...] = ()
    tls: bool = False
    boards: AbsolutePath = Field(default_factory=lambda: Path("boards.toml").absolute())
    description: Text = ""
    answers: AbsolutePath | None = None
    scheduler: SchedulerName = "longest-pass"
    faults: tuple[Fault, ...] = ()
    tasks: tuple[Task, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _automatic_speed(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("speed") == AUTO:
            bound_s = values.get("link_error_bound_s", LINK_ERROR_BOUND_S)
            highest = highest_auto_speed(bound_s) if isinstance(bound_s, int | float) else FIRST_AUTO_SPEED
            return {**values, "speed": min(FIRST_AUTO_SPEED, highest), "adapt_speed": True}
        return values

    @model_validator(mode="after")
    def _names_are_unique(self) -> Scenario:
        boards = [s.board for s in self.satellites if s.board is not None]
        nodes = [*(s.name for s in self.satellites), *(s.name for s in self.ground_nodes)]
        for kind, names in (
            ("satellite", [s.name for s in self.satellites]),
            ("station", [s.name for s in self.stations]),
            ("frame", [f.frame for s in self.satellites for f in s.frames]),
            ("link", [link.name for link in self.network_links]),
            ("board", boards),
        ):
            if repeated := _repeated(names):
                raise ValueError(f"duplicate {kind} name: {', '.join(repeated)}")
        # A board's agent reports beside the satellite's program, so both need names of their own.
        slugs = [slug(name) for name in (*nodes, *boards)]
        if alike := _repeated(slugs):
            raise ValueError(f"node names that differ only in case or punctuation: {', '.join(alike)}")
        return self

    @model_validator(mode="after")
    def _links_join_nodes(self) -> Scenario:
        satellites = {s.name for s in self.satellites}
        stations = {s.name for s in self.stations}
        for link in self.links:
            if link.satellite not in satellites:
                raise ValueError(f"link refers to unknown satellite {link.satellite!r}")
            if link.station not in stations:
                raise ValueError(f"link refers to unknown station {link.station!r}")
        for satellite in self.satellites:
            count = sum(link.satellite == satellite.name for link in self.links)
            if satellite.board is not None and count > 1:
                raise ValueError(
                    f"satellite {satellite.name!r} is a board, which supports only one link; it has {count}"
                )
        if not isinstance(self.probe, bool):
            known = {link.name for link in self.sky_links}
            if unknown := sorted(set(self.probe) - known):
                raise ValueError(f"probe names a link that the scenario does not have: {', '.join(unknown)}")
        if unknown := sorted(set(self.capture) - {link.name for link in self.network_links}):
            raise ValueError(f"capture names a link that the scenario does not have: {', '.join(unknown)}")
        linked = {end for link in self.network_links for end in link.ends}
        if unlinked := sorted(satellites - linked):
            raise ValueError(
                f"satellite without a link, so that no frame could arrive: {', '.join(unlinked)}"
            )
        return self

    @model_validator(mode="after")
    def _somebody_receives(self) -> Scenario:
        control, stations = self.mission_control, {s.name for s in self.stations}
        if control is None:
            if silent := [s.name for s in self.stations if not s.model]:
                raise ValueError(
                    f"station without a model, and there is no mission_control to receive for it:"
                    f" {', '.join(silent)}"
                )
            return self
        if not control.model:
            raise ValueError(f"{control.name} needs a model")
        for link in control.links:
            if link.station not in stations:
                raise ValueError(f"{control.name} has a link to unknown station {link.station!r}")
        forwarding = {s.name for s in self.stations if not s.model}
        for satellite in self.satellites:
            if satellite.board is not None and any(
                link.satellite == satellite.name and link.station in forwarding for link in self.links
            ):
                raise ValueError(
                    f"satellite {satellite.name!r} is a board, which routes no packets to {control.name};"
                    " give its station a model"
                )
        return self

    @model_validator(mode="after")
    def _crosslinks_join_satellites(self) -> Scenario:
        if self.crosslinks and self.mission_control is None:
            raise ValueError("crosslinks lead to mission_control alone, and there is none")
        boards = {s.name: s.board is not None for s in self.satellites}
        pairs: set[frozenset[str]] = set()
        for link in self.crosslinks:
            for end in link.ends:
                if end not in boards:
                    raise ValueError(f"crosslink refers to unknown satellite {end!r}")
                if boards[end]:
                    raise ValueError(f"satellite {end!r} is a board, which forwards no packets")
            if len(pair := frozenset(link.ends)) == 1 or pair in pairs:
                raise ValueError(
                    f"crosslink {link.name} joins a satellite with itself, or the same two again"
                )
            pairs.add(pair)
        return self

    @property
    def ground_nodes(self) -> tuple[GroundNode, ...]:
        """The stations, and mission control."""
        return self.stations if self.mission_control is None else (*self.stations, self.mission_control)

    @property
    def nodes(self) -> tuple[Satellite | GroundNode, ...]:
        """The satellites and all nodes on the ground."""
        return (*self.satellites, *self.ground_nodes)

    @property
    def receivers(self) -> tuple[GroundNode, ...]:
        """The nodes on the ground that receive and answer: those with a model."""
        return tuple(node for node in self.ground_nodes if node.model)

    @property
    def earth_links(self) -> tuple[EarthLink, ...]:
        """The links of mission control."""
        if self.mission_control is None:
            return ()
        control = self.mission_control.name
        return tuple(EarthLink(station=station.name, mission_control=control) for station in self.stations)

    @property
    def sky_links(self) -> tuple[Link | InterSatelliteLink, ...]:
        """The links that end at a satellite."""
        return (*self.links, *self.crosslinks)

    @property
    def probed_links(self) -> tuple[Link | InterSatelliteLink, ...]:
        """The links that are measured during the run."""
        if isinstance(self.probe, bool):
            return self.sky_links if self.probe else ()
        return tuple(link for link in self.sky_links if link.name in self.probe)

    @property
    def network_links(self) -> tuple[AnyLink, ...]:
        """Every link, those of satellites first."""
        return (*self.sky_links, *self.earth_links)

    def receivers_of(self, satellite: str) -> tuple[str, ...]:
        """Return who may receive from a satellite, in order of its preference."""
        receiving = {node.name for node in self.receivers}
        own = [link.station for link in self.links if link.satellite == satellite]
        control = [] if self.mission_control is None else [self.mission_control.name]
        return tuple(name for name in (*own, *control) if name in receiving)

    def orbit_of(self, satellite: str) -> Orbit | Sight | None:
        """Return the orbit that a satellite's first computed link follows; None: all are recorded."""
        follows = (link.follows for link in self.sky_links if satellite in link.ends)
        return next((orbit for orbit in follows if isinstance(orbit, Orbit | Sight)), None)

    @model_validator(mode="after")
    def _power_has_an_orbit(self) -> Scenario:
        for satellite in self.satellites:
            if satellite.power is not None and self.orbit_of(satellite.name) is None:
                raise ValueError(
                    f"satellite {satellite.name!r} has power, and no link of it follows an orbit, which says"
                    " when the sun shines; let one follow an Orbit"
                )
        return self

    @model_validator(mode="after")
    def _faults_have_targets(self) -> Scenario:
        if (problem := fault_problem(self)) is not None:
            raise ValueError(f"fault {problem}")
        return self

    @model_validator(mode="after")
    def _tasks_fit(self) -> Scenario:
        if (problem := task_problem(self)) is not None:
            raise ValueError(f"task {problem}")
        return self

    def at_speed(self, speed: float | Literal["auto"]) -> Scenario:
        """Return the scenario with another `speed`, which is kept unless it is "auto".

        Raises:
            ScenarioError: it is neither 1 to 1000 nor "auto".
        """
        try:
            return Scenario.model_validate({**dict(self), "adapt_speed": False, "speed": speed})
        except ValidationError as error:
            raise ScenarioError(one_line(error)) from None

    def with_policy(self, policy: str) -> Scenario:
        """Return the scenario with one policy for all satellites; its name ends in the policy's.

        Parameters in a file, by policy name, are kept. Others were those of a satellite's own policy.

        Raises:
            ScenarioError: the policy has no name that a scenario can have.
        """
        changes = {"policy": _absolute_file(policy), "accept_confidence": None}
        satellites = tuple(
            satellite.model_copy(
                update=changes
                if isinstance(satellite.policy_parameters, Path)
                else {**changes, "policy_parameters": {}}
            )
            for satellite in self.satellites
        )
        name = f"{self.name}-{Path(policy).stem}"
        try:
            return Scenario.model_validate({**dict(self), "name": name, "satellites": satellites})
        except ValidationError as error:
            raise ScenarioError(one_line(error)) from None

    def capturing(self, links: Sequence[str]) -> Scenario:
        """Return the scenario with captures of further links.

        Raises:
            ScenarioError: it has no link of one of these names.
        """
        try:
            capture = tuple(dict.fromkeys((*self.capture, *links)))
            return Scenario.model_validate({**dict(self), "capture": capture})
        except ValidationError as error:
            raise ScenarioError(one_line(error)) from None

    def satellite(self, name: str) -> Satellite:
        """Return the satellite called `name`.

        Raises:
            KeyError: no satellite has this name.
        """
        return {s.name: s for s in self.satellites}[name]

    def station(self, name: str) -> GroundNode:
        """Return the ground station, or the mission control, called `name`.

        Raises:
            KeyError: no station has this name.
        """
        return {s.name: s for s in self.ground_nodes}[name]

    def frames(self) -> dict[str, Frame]:
        """Return the frames of all satellites, by name."""
        return {f.frame: f for s in self.satellites for f in s.frames}

    def questions(self) -> dict[str, Question]:
        """Return the questions that come up during the run, by name."""
        return {task.name: task for task in self.tasks if isinstance(task, Question)}

    def check_files(self) -> None:
        """Check that every file of the scenario exists.

        Raises:
            ScenarioError: names the first file that does not exist.
        """
        for satellite in self.satellites:
            parameters, network = satellite.policy_parameters, satellite.confidence
            if isinstance(parameters, Path) and not parameters.is_file():
                raise ScenarioError(f"satellite {satellite.name}: no policy parameters at {parameters}")
            if network is not None and not network.is_dir():
                raise ScenarioError(f"satellite {satellite.name}: no confidence network at {network}")
        for frame in self.frames().values():
            if not frame.image.is_file():
                raise ScenarioError(f"frame {frame.frame}: no image file at {frame.image}")
        nodes: list[Satellite | GroundNode] = [*self.satellites, *self.ground_nodes]
        for node in nodes:
            if node.profile is not None and not node.profile.is_file():
                raise ScenarioError(f"{node.name}: no profile at {node.profile}")
        for link in self.sky_links:
            what, path = _file_of(link.follows)
            if isinstance(path, Path) and not path.is_file():
                raise ScenarioError(f"link {link.name}: no {what} at {path}")
        for task in self.tasks:
            if isinstance(task, NetworkChange) and (missing := task.problem()) is not None:
                raise ScenarioError(f"task {task.what!r} at {task.at_s:g} s: {missing}")
        if (problem := check_weights(self)) is not None:
            raise ScenarioError(f"fault {problem}")


def _file_of(follows: Orbit | Sight | Recorded | Path) -> tuple[str, str | Path]:
    """Return what a link follows, and the file, or the text of a Walker constellation."""
    match follows:
        case Orbit() | Sight():
            return "element file", follows.elements
        case Recorded():
            return "recording", follows.file
        case _:
            return "trace file", follows


class _PromptRow(BaseModel):
    """A line of prompts.jsonl; further keys are ignored."""

    model_config = ConfigDict(extra="ignore")
    frame: Annotated[str, Field(min_length=1)]
    image: str
    prompt: str
    truth: str
    kind: str = ""
    also_right: tuple[str, ...] = ()


def read_frames(folder: Path, capture_s: Sequence[float]) -> tuple[Frame, ...]:
    """Read the frames of a folder's `prompts.jsonl`, one per capture time, from the first line on.

    Args:
        folder: folder of `prompts.jsonl`; keys of a line: frame, image, prompt, truth and optionally kind and
            also_right (a list of further right answers).
        capture_s: scenario times of the captures, in seconds.

    Raises:
        ScenarioError: the file has fewer lines than capture times, or an invalid line.
    """
    path = folder / "prompts.jsonl"
    try:
        # JSON may hold other ends of lines in its texts, such as U+2028, which `splitlines` takes for one.
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except OSError as error:
        raise ScenarioError(f"cannot read the prompts at {path}: {error.strerror}") from None
    if len(lines) < len(capture_s):
        raise ScenarioError(f"{path} has {len(lines)} frames, fewer than the {len(capture_s)} capture times")
    frames = []
    for number, (line, time_s) in enumerate(zip(lines, capture_s, strict=False), start=1):
        try:
            row = _PromptRow.model_validate_json(line)
            frames.append(
                Frame(
                    frame=row.frame,
                    image=folder / row.image,
                    prompt=row.prompt,
                    truth=row.truth,
                    kind=row.kind,
                    also_right=row.also_right,
                    capture_s=time_s,
                )
            )
        except ValidationError as error:
            raise ScenarioError(f"{path}, line {number}: {one_line(error)}") from None
    return tuple(frames)


def one_line(error: ValidationError) -> str:
    """Return a pydantic error as one line: each field and its fault."""
    return f"{error.title}: {'; '.join(problems_of(error))}"


def to_json(scenario: Scenario) -> str:
    """Return the scenario as JSON that `load_scenario` can read in any folder.

    Folders of models become absolute. A board's model is a folder on the board, and stays as it is.
    """
    whole = scenario.model_dump(mode="json")
    control = whole["mission_control"]
    for node in (*whole["satellites"], *whole["stations"], *([] if control is None else [control])):
        if node.get("board") is None and node["model"] and Path(node["model"]).is_dir():
            node["model"] = str(Path(node["model"]).absolute())
    return json.dumps(whole, indent=2) + "\n"


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
