"""Every event that a node or the run writes into `events.jsonl`, and the record around it.

One line of the file is one JSON object: `event` is the event's name, the fields of `EventRecord` say who
reported it and when, and the event's own fields follow in the same object. `monotonic_s` and every other
stamp is CLOCK_MONOTONIC of the run's machine; a node with a clock of its own converts its stamps.

An event is declared here or nowhere: deriving from `Event` in another module fails.
docs/reference/events.md is made from these classes (nodes/contract/reference.py).
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from nodes.contract.board import BoardFacts, ChronyReport, Role
from nodes.contract.strict import Strict, Text

if TYPE_CHECKING:
    from typing_extensions import Self

RUN = "run"  # the node's name in events of the run itself

ItemKind = Literal["answer", "image", "task"]
AnsweredBy = Literal["satellite", "ground"]
DecisionName = Literal["answer", "offload", "drop"]
FailedPart = Literal["policy", "model", "server", "regions", "image"]
ProgramState = Literal["lost", "ready", "given up", "finished"]
PowerCause = Literal[
    "interval",
    "sunlight",
    "eclipse",
    "compute on",
    "compute off",
    "too hot",
    "radio on",
    "radio off",
    "full speed",
    "throttled",
    "end",
]

EVENTS: dict[str, type[Event]] = {}
"""Each kind of event by its name."""


class Event(Strict):
    """Something that happened in a run. The class says what, `EventRecord` who and when."""

    event_name: ClassVar[str] = ""
    sent_by: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Register an event that has a name of its own. Raises TypeError for one of another module."""
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__module__ != __name__:
            raise TypeError(f"{cls.__name__}: events are declared in {__name__} alone")
        if "event_name" in vars(cls):
            EVENTS[cls.event_name] = cls

    @classmethod
    def roles(cls) -> frozenset[str]:
        """Return who may report it: "satellite", "ground station", "agent", "run"."""
        return frozenset(part.split(" with ")[0].strip() for part in cls.sent_by.split(","))

    def fields(self) -> dict[str, Any]:
        """Return the event's fields as plain values; defaults that were not given are left out."""
        return self.model_dump(exclude_unset=True)


class FrameEvent(Event):
    """An event that concerns one frame.

    Args:
        frame: the frame's name.
        satellite: in a ground station's events, slug of the satellite whose account sent the frame's item.
    """

    frame: Text
    satellite: Text | None = None

    def sent_from(self, satellite: str) -> Self:
        """Return the event with the satellite whose account sent the frame's item."""
        return self.model_copy(update={"satellite": satellite})


class ItemEvent(FrameEvent):
    """An event that concerns a frame's image or answer on its way to the ground.

    Args:
        what: whether it is the image or the answer.
    """

    what: ItemKind


class TaskEvent(Event):
    """An event that concerns a task for a satellite.

    Args:
        task: the task's name; of a question, the name under which it is answered like a frame.
    """

    task: Text


class EventRecord(Strict):
    """An event with its sender and its time: one line of `events.jsonl`.

    Args:
        node: name of the node that reports it; "run" for the run itself.
        monotonic_s: when it happened, on CLOCK_MONOTONIC of the run's machine.
        time_s: the same as scenario time; None before the start is known.
        sequence: number of the event at its node, from 1; None for events of the run itself.
        run: name of the run, from nodes whose account serves several runs.
        own_monotonic_s: the stamp as read from the node's own clock, where that is not the run's.
        clock_bound_s: largest error of the stamps' conversion from that clock.
        event: the event.
    """

    node: Text
    monotonic_s: float = Field(allow_inf_nan=False)
    time_s: float | None = None
    sequence: int | None = Field(default=None, ge=1)
    run: Text | None = None
    own_monotonic_s: float | None = None
    clock_bound_s: float = 0.0
    event: Event

    @property
    def name(self) -> str:
        """Name of the event's kind."""
        return self.event.event_name

    @property
    def frame(self) -> str | None:
        """Name of the frame that the event concerns, if it concerns one."""
        return self.event.frame if isinstance(self.event, FrameEvent) else None

    def to_json(self) -> dict[str, Any]:
        """Return the line's object."""
        envelope = self.model_dump(exclude={"event"}, exclude_unset=True)
        return {"event": self.name, **envelope, **self.event.fields()}

    def to_line(self) -> str:
        """Return the line without its end."""
        return json.dumps(self.to_json())

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EventRecord:
        """Return the record in a line's object. Raises ValueError for what is not declared here."""
        # Names come again and again, and are kept once.
        fields: dict[str, Any] = {
            key: sys.intern(value) if type(value) is str and len(value) < 64 else value
            for key, value in values.items()
        }
        name = fields.pop("event", None)
        kind = EVENTS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise ValueError(f"unknown event {name!r:.60}")
        envelope = {key: fields.pop(key) for key in _ENVELOPE if key in fields}
        made = cls(**envelope, event=kind.model_validate(fields))
        _share_set_of_fields(made)
        _share_set_of_fields(made.event)
        return made

    @classmethod
    def from_line(cls, line: str | bytes | bytearray) -> EventRecord:
        """Return the record in a line. Raises ValueError for what is not one, RecursionError if too deep."""
        values = json.loads(line, parse_int=_number, parse_float=_number, parse_constant=_number)
        if not isinstance(values, dict):
            raise ValueError("an event must be a JSON object")
        return cls.from_json(values)


_SETS_OF_FIELDS: dict[frozenset[str], set[str]] = {}
_SETS_MAX = 10_000


def _share_set_of_fields(model: Strict) -> None:
    """Let equal sets of fields be one: pydantic keeps a set for each object, larger than all its values."""
    own = model.model_fields_set
    if len(_SETS_OF_FIELDS) < _SETS_MAX:
        object.__setattr__(model, "__pydantic_fields_set__", _SETS_OF_FIELDS.setdefault(frozenset(own), own))


LARGEST = 1e18
"""Larger numbers in events are refused: sums, squares and differences of the others are still numbers."""


def _number(text: str) -> int | float:
    value = float(text)
    if not abs(value) <= LARGEST:
        raise ValueError(f"{text[:30]} is no plausible number")
    return int(text) if text.lstrip("-").isdigit() else value


TEXT_MAX_BYTES = 100_000  # of one text of an event, encoded; brokers refuse messages of 2 MB


def shortened(event: Event) -> Event:
    """Return an event whose texts fit into a message; a text that was cut says so at its end."""
    changes = {}
    for name, value in event:
        if isinstance(value, str) and (short := _short(value)) is not value:
            changes[name] = short
    return event.model_copy(update=changes) if changes else event


def _short(text: str) -> str:
    if len(text) * 12 <= TEXT_MAX_BYTES or len(json.dumps(text)) <= TEXT_MAX_BYTES:
        return text  # one character takes up to twelve bytes
    kept = text
    while (size_bytes := len(json.dumps(kept))) > TEXT_MAX_BYTES:
        kept = kept[: int(len(kept) * TEXT_MAX_BYTES / size_bytes * 0.99)]
    return f"{kept} ... (cut: the first {len(kept)} of {len(text)} characters)"


_ENVELOPE = tuple(name for name in EventRecord.model_fields if name != "event")


# A node's program


class Ready(Event):
    """The model is loaded and warm; the node waits for work.

    Args:
        model: the configured model.
        parameters: number of the model's parameters; None for a model behind a server.
        load_s: time that loading took.
        warm_up_s: time that the first, discarded answer took.
        profile: name of the profile whose machine's pace the node keeps, if any.
        place: device and type of the model's weights, such as "cuda:0 bfloat16"; None for a server's.
        lacks: what a satellite's policy has to do without, as its model is behind a server.
        differs: how the profile's model ran otherwise than this one, where answers may differ.
    """

    event_name = "ready"
    sent_by = "satellite, ground station"

    model: Text
    parameters: int | None
    load_s: float
    warm_up_s: float
    profile: Text | None = None
    place: Text | None = None
    differs: Text | None = None
    lacks: Text | None = None


class InferenceStarted(FrameEvent):
    """The model begins to work on a frame; it happens again where a model's server was unavailable."""

    event_name = "inference_started"
    sent_by = "satellite, ground station"


class StageReading(Strict):
    """What the compact model's work on a frame said after one stage.

    Args:
        stage: the stage; see nodes/onboard/stages.py.
        confidence: mean probability of the tokens so far; None before the first.
        network_confidence: the confidence network's estimate; None without a network.
    """

    stage: int
    confidence: float | None
    network_confidence: float | None


class StageJudgement(Strict):
    """What a satellite's policy compared after one stage.

    Args:
        stage: number of tokens so far; 0 once the image is encoded, -1 before.
        finished: whether the answer was complete.
        confidence: the confidence that was compared; None if there was none.
        offload_below: confidence below which the frame is offloaded at this stage; None if it is not.
        accept_from: confidence from which the answer is accepted at this stage; None if it is not.
        part_bytes: the frame's part of what the contact still carries; None without a plan of contacts, and
            for policies without the contact rule.
    """

    stage: int
    finished: bool
    confidence: float | None
    offload_below: float | None = None
    accept_from: float | None = None
    part_bytes: float | None = None


class SentRegions(Strict):
    """The regions of a frame, row by row: where the compact model looked, and what of them was sent.

    Args:
        rows: number of rows of regions.
        columns: number of columns.
        relevance: relevance of each region, by the model's attention.
        reductions: by what each region was reduced, per side; 0 for one that was not sent.
    """

    rows: int
    columns: int
    relevance: list[float]
    reductions: list[int]


class InferenceFinished(FrameEvent):
    """The model's work on a frame is done; a satellite's policy has decided.

    Args:
        answer: the model's answer; empty where none was generated.
        confidence: mean probability of the answer's tokens; None where the model gives none.
        preprocess_s: time of image preprocessing, like the next three of the answer.
        vision_s: time of the vision encoder.
        prefill_s: time until the first token.
        decode_s: time of the further tokens.
        network_confidence: a satellite's confidence network's estimate that the answer is right.
        network: version of that network: the beginning of the checksum of its files.
        stage: the stage at which a satellite's policy decided; see nodes/policies.
        decision: the decision of a satellite's policy; None on the ground.
        form: form in which an offloaded frame is sent; see nodes/onboard/message.py.
        remembered: whether the answer had been computed before and was taken from a memory.
        stages: the stages before the one at which the policy decided, if there were any.
        regions: of a frame that is sent as regions, how relevant each was, and what of it was sent.
        judged: what the policy compared after each stage; the last one decided.
        message_bytes: size of the message of an offloaded frame.
        why: the decision in words: the confidence that decided, its bound, and what was sent.
    """

    event_name = "inference_finished"
    sent_by = "satellite, ground station"

    answer: Text
    confidence: float | None
    preprocess_s: float | None = None
    vision_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    network_confidence: float | None = None
    network: Text | None = None
    stage: int | None = None
    decision: DecisionName | None = None
    form: Text | None = None
    remembered: bool | None = None
    stages: list[StageReading] | None = None
    regions: SentRegions | None = None
    judged: list[StageJudgement] | None = None
    message_bytes: int | None = None
    why: Text | None = None


class InferenceFailed(FrameEvent):
    """The work on a frame has failed, or its model's server was unavailable.

    A satellite then sends the frame as captured, a ground station gives it up. The run counts it as failed.

    Args:
        reason: the error.
        part: the part that failed.
        where: file, line and function that raised the error.
        put_off: the server was unavailable, and the frame waits until it is back; reported once per outage.
    """

    event_name = "inference_failed"
    sent_by = "satellite, ground station"

    reason: Text
    part: FailedPart | None = None
    where: Text | None = None
    put_off: bool = False


class Paced(FrameEvent):
    """The model has worked on a frame at the pace of another machine's profile.

    Args:
        profile: name of the profile. All durations are of scenario time.
        profile_s: time that the profile's machine would have taken.
        computed_s: time that this machine took.
        late_s: how much later than the profile's machine this machine was ready.
    """

    event_name = "paced"
    sent_by = "satellite, ground station"

    profile: Text
    profile_s: float
    computed_s: float
    late_s: float


class PowerSensorFound(Event):
    """The search for a power sensor has ended; `reason` is set if none was found.

    Args:
        source: the sensor.
        scope: the part of the board that it measures.
        idle_w: power while the loaded model idles.
        reason: why there is no sensor.
    """

    event_name = "power_sensor"
    sent_by = "satellite, ground station"

    source: Text | None = None
    scope: Text | None = None
    idle_w: float | None = None
    reason: Text | None = None


class PowerState(Event):
    """State of a satellite's battery and temperature at one moment, and what they permit (docs/power.md).

    The energies count from scenario second 0. The energy of the panels is the change of the charge, what
    was used, and what was lost.

    Args:
        at_s: scenario time of the state; the event may be later.
        causes: why it is reported: a regular interval, the edge of an eclipse, a part that was switched, or
            the end.
        charge_j: energy in the battery.
        charge: the same as a share of its capacity.
        temperature_c: temperature.
        sunlit: whether the satellite sees the sun.
        input_w: power of the solar panels.
        load_w: power of all loads.
        compute: whether inference may go on.
        radio: whether the radio may be on.
        full_speed: whether the computer is not slowed down by heat.
        input_j: energy that the panels could give.
        used_j: energy that the loads took.
        lost_j: energy lost in charging, or not taken from the panels by a full battery.
        unserved_j: energy that the loads needed while the battery was empty.
    """

    event_name = "power_state"
    sent_by = "satellite with power"

    at_s: float
    causes: list[PowerCause]
    charge_j: float
    charge: float
    temperature_c: float
    sunlit: bool
    input_w: float
    load_w: float
    compute: bool
    radio: bool
    full_speed: bool
    input_j: float
    used_j: float
    lost_j: float
    unserved_j: float


class EnergyUsed(FrameEvent):
    """The energy of the work on one frame.

    Args:
        energy_j: energy above idling.
        whole_j: energy, idling included.
        idle_w: power while idling.
        duration_s: duration of the work.
        held_s: time in which a profile's pace held the work back; it is in no other value.
        samples: number of readings during the work; below two the value rests on their neighbours alone.
        source: the sensor.
        scope: the part of the board that it measures.
    """

    event_name = "energy"
    sent_by = "satellite, ground station"

    energy_j: float
    whole_j: float
    idle_w: float
    duration_s: float
    held_s: float
    samples: int
    source: Text
    scope: Text


class EnergyUnknown(FrameEvent):
    """The energy of the work on one frame could not be measured.

    Args:
        reason: why.
    """

    event_name = "energy_unknown"
    sent_by = "satellite, ground station"

    reason: Text


class ClockCompared(Event):
    """A node has compared its own clock with the run's.

    Args:
        offset_s: the run's clock minus the node's.
        bound_s: largest error of the offset.
        drift_ppm: drift of the offset.
        drift_bound_ppm: largest error of the drift.
        round_trip_s: the quickest exchange.
        exchanges: number of exchanges so far.
        breaks: how often the clock was set or slewed.
        chrony: state of the node's wall clock, or the reason why it is unknown.
    """

    event_name = "clock"
    sent_by = "satellite, ground station, agent with a clock of its own"

    offset_s: float
    bound_s: float
    drift_ppm: float
    drift_bound_ppm: float
    round_trip_s: float
    exchanges: int
    breaks: int
    chrony: ChronyReport | Text


class EventsDropped(Event):
    """A node had to drop events, since the management broker was unreachable for too long.

    Args:
        count: number of dropped events since the last such event.
    """

    event_name = "events_dropped"
    sent_by = "satellite, ground station, agent"

    count: int


class Malformed(Event):
    """A received payload was rejected or above a limit of its sender; at most one event a second and sender.

    Args:
        sender: the payload's sender, or the topic on which it came.
        count: number of rejected payloads of that sender so far.
        reason: why the latest was rejected.
        size_bytes: size of the latest.
    """

    event_name = "malformed"
    sent_by = "satellite, ground station, agent, run"

    sender: Text
    count: int
    reason: Text
    size_bytes: int | None = None


# A satellite's frames


class Captured(FrameEvent):
    """A satellite has taken a frame.

    Args:
        size_bytes: size of the image file.
    """

    event_name = "captured"
    sent_by = "satellite"

    size_bytes: int


class FrameRefused(FrameEvent):
    """A frame or its answer was given up and will not be answered.

    Args:
        reason: why.
    """

    event_name = "refused"
    sent_by = "satellite, ground station"

    reason: Text


class Dropped(ItemEvent):
    """A frame was dropped by the policy, or an item to make room in an outbox or inbox.

    Args:
        reason: why.
        size_bytes: size of the dropped item.
    """

    event_name = "dropped"
    sent_by = "satellite, ground station"

    reason: Text
    size_bytes: int | None = None


class Expired(ItemEvent):
    """An item's deadline has passed before it was delivered.

    Args:
        expires_s: the deadline, scenario time.
    """

    event_name = "expired"
    sent_by = "satellite, ground station"

    expires_s: float | None


class OutboxTrouble(Event):
    """The outbox holds something damaged or foreign, or the disk refuses a file; the program goes on.

    Args:
        reason: the error.
    """

    event_name = "outbox_trouble"
    sent_by = "satellite, ground station"

    reason: Text


# Tasks that are sent up


class TaskAsked(TaskEvent):
    """The run hands a task to the ground: the operator asks for it.

    Args:
        what: its kind: "question", "priority", "policy" or "network".
        satellite: the satellite.
        network: version of the confidence network that goes up.
    """

    event_name = "task_asked"
    sent_by = "run"

    what: Text
    satellite: Text
    network: Text | None = None


class TaskQueued(TaskEvent):
    """A ground program has a task on its disk, and sends it up when the satellite is connected."""

    event_name = "task_queued"
    sent_by = "ground station"


class TaskSent(TaskEvent):
    """The first byte of a task was sent up; a satellite that has just left gets it in its next contact."""

    event_name = "task_sent"
    sent_by = "ground station"


class TaskReceived(TaskEvent):
    """A satellite has a whole task on its disk, and its SHA-256 is right."""

    event_name = "task_received"
    sent_by = "satellite"


class TaskDone(TaskEvent):
    """A satellite has carried out a task; of a question, its answer or image is in the outbox."""

    event_name = "task_done"
    sent_by = "satellite"


class TaskRefused(TaskEvent):
    """A task will not be carried out.

    Args:
        reason: why.
    """

    event_name = "task_refused"
    sent_by = "satellite, ground station"

    reason: Text


# The downlink


class QueueReported(Event):
    """What a satellite has on board for the ground; for schedulers of dishes that depend on it.

    Args:
        items: number of items that the ground does not have.
        size_bytes: their size.
        best_value: the highest value among them; 0 without items.
        deadline_s: the nearest deadline among them, scenario time; null if none has one.
        sending: whether an item is partly sent.
    """

    event_name = "queue"
    sent_by = "satellite"

    items: int
    size_bytes: int
    best_value: float
    deadline_s: float | None
    sending: bool


class ContactChanged(Event):
    """A satellite's contact with a station began or ended, as its network interface or the run says.

    Args:
        station: the station.
        up: whether there is contact now.
        waiting: number of items on board that the ground does not have.
        waiting_bytes: size of these items.
    """

    event_name = "contact"
    sent_by = "satellite"

    station: Text
    up: bool
    waiting: int | None = None
    waiting_bytes: int | None = None


class Connected(Event):
    """A connection to a station's broker is open.

    Args:
        station: the station.
    """

    event_name = "connected"
    sent_by = "satellite, ground station"

    station: Text


class Disconnected(Event):
    """The connection to a station's broker is closed or lost.

    Args:
        station: the station.
        reason: why.
    """

    event_name = "disconnected"
    sent_by = "satellite, ground station"

    station: Text
    reason: Text


class ConnectionRefused(Event):
    """A station's broker refused the connection, TLS failed, or ten seconds of contact brought no connection.

    Reported once until the reason changes.

    Args:
        station: the station.
        reason: why.
    """

    event_name = "connection_refused"
    sent_by = "satellite, ground station"

    station: Text
    reason: Text


class SendStarted(ItemEvent):
    """The first byte of an item is handed to the connection.

    Args:
        size_bytes: size of the item.
    """

    event_name = "send_started"
    sent_by = "satellite"

    size_bytes: int


class SendFinished(ItemEvent):
    """The last byte of an item was handed to the connection; reported when the ground has the whole item.

    Args:
        bytes_sent: bytes of all payloads of the item, repeats included.
        chunks: number of chunks sent, repeats included.
        resent_chunks: number of chunks sent again.
    """

    event_name = "send_finished"
    sent_by = "satellite"

    bytes_sent: int
    chunks: int
    resent_chunks: int


class Delivered(ItemEvent):
    """The ground has confirmed that it has the whole item."""

    event_name = "delivered"
    sent_by = "satellite"


class SendRefused(ItemEvent):
    """The ground has refused an item for good, or it can no longer be read on board.

    Args:
        reason: why.
    """

    event_name = "send_refused"
    sent_by = "satellite"

    reason: Text


class SendWaits(ItemEvent):
    """The ground has no room for an item now, or it cannot be read on board now; it is offered again later.

    Args:
        reason: why.
    """

    event_name = "send_waits"
    sent_by = "satellite"

    reason: Text


# A ground station


class HeartbeatReceived(Event):
    """A satellite's heartbeat has arrived at a station.

    Args:
        satellite: the slug of the satellite's name.
        delay_s: real time on the way; across machines it is wrong by the offset of their clocks.
        sent_s: scenario time at which the satellite sent it; None before it knew the start.
        pending: number of items in the satellite's outbox.
        pending_bytes: size of those items.
        contacts: number of contacts that the satellite has had.
    """

    event_name = "heartbeat"
    sent_by = "ground station"

    satellite: Text
    delay_s: float
    sent_s: float | None
    pending: int
    pending_bytes: int
    contacts: int


class ReceivedFirst(ItemEvent):
    """The first payload of an item has arrived."""

    event_name = "received_first"
    sent_by = "ground station"


class Received(ItemEvent):
    """The last payload of an item has arrived.

    Args:
        size_bytes: size of the item.
        sha256_ok: whether its SHA-256 is right; otherwise damaged chunks are requested again.
        is_cut: true if only its first pieces came, and it is answered from them.
    """

    event_name = "received"
    sent_by = "ground station"

    size_bytes: int
    sha256_ok: bool
    is_cut: bool | None = None


class InboxFull(ItemEvent):
    """An item cannot be stored now and is requested again; reported at most every ten seconds for each item.

    Args:
        reason: the error.
    """

    event_name = "inbox_full"
    sent_by = "ground station"

    reason: Text


class InboxTrouble(Event):
    """The inbox holds something damaged or foreign, or the disk refuses a file; the program goes on.

    Args:
        frame: the frame that it concerns, if it is known.
        reason: the error.
    """

    event_name = "inbox_trouble"
    sent_by = "satellite, ground station"

    frame: Text | None = None
    reason: Text


class Answered(FrameEvent):
    """A frame's answer is on the ground: the end of the frame's way.

    Args:
        answer: the answer.
        answered_by: whose model gave it.
        confidence: mean probability of the answer's tokens; None where the model gives none.
    """

    event_name = "answered"
    sent_by = "ground station"

    answer: Text
    answered_by: AnsweredBy
    confidence: float | None


# The agent of a board


class AgentAssigned(Event, BoardFacts):
    """A board's agent has accepted an assignment; the fields describe the board.

    Args:
        role: the program that it will run.
    """

    event_name = "agent_assigned"
    sent_by = "agent"

    role: Role


class NodeStarted(Event):
    """A board's agent has started the node's program.

    Args:
        pid: the process.
        role: the program.
    """

    event_name = "node_started"
    sent_by = "agent"

    pid: int
    role: Role


class NodeEnded(Event):
    """The node's program has ended by itself, or could not be started.

    Args:
        status: exit status; None if it did not start.
        reason: its last line, or the error.
    """

    event_name = "node_ended"
    sent_by = "agent"

    status: int | None
    reason: Text


class NodeStopped(Event):
    """A board's agent has stopped the node's program.

    Args:
        status: exit status; None if no program ran.
        reason: why.
    """

    event_name = "node_stopped"
    sent_by = "agent"

    status: int | None
    reason: Text


# The run itself


class LinkChanged(Event):
    """A direction of an emulated link went up or down, following its trace.

    Args:
        link: the link's name.
        up: whether there is a contact now: whether either direction carries packets.
        lateness_s: delay of the change after the trace's time, in scenario time.
        downlink_up: whether packets to the ground pass; None in older files, where it is `up`.
        uplink_up: whether packets to the satellite pass; None in older files, where it is `up`.
    """

    event_name = "link"
    sent_by = "run"

    link: Text
    up: bool
    lateness_s: float
    downlink_up: bool | None = None
    uplink_up: bool | None = None


class ContactLosses(Event):
    """Packets that a link has lost at the end of a contact, in both directions; of links that nfqueue shapes.

    Args:
        link: the link's name.
        inside: packets that were queued or in flight in it as the contact ended.
        late: packets that came to it after that, before their sender or a router knew of the end.
        overflow: packets for which its queue had no room during the contact.
    """

    event_name = "contact_losses"
    sent_by = "run"

    link: Text
    inside: int
    late: int
    overflow: int


class PathChanged(Event):
    """The way of a satellite's packets to mission control has changed, as computed from the contacts.

    Args:
        satellite: the satellite.
        path: the nodes on the way, from the satellite to mission control; empty while there is none.
    """

    event_name = "path"
    sent_by = "run"

    satellite: Text
    path: list[Text]


class TimeJumped(Event):
    """Scenario time jumped over a span in which no node had anything to do.

    Args:
        from_s: scenario time at the jump.
        to_s: scenario time after it: shortly before the next event.
    """

    event_name = "jump"
    sent_by = "run"

    from_s: float
    to_s: float


class SpeedChanged(Event):
    """Scenario time goes on at another speed, and all links with it.

    Args:
        speed: seconds of scenario time in a real one, from here on.
        before: the same until here.
        reason: why.
    """

    event_name = "speed"
    sent_by = "run"

    speed: float
    before: float
    reason: Text


class SkippingEnded(Event):
    """The run skips no more idle time, since a node did not take part; it goes on without.

    Args:
        reason: which node, and what it did not do.
    """

    event_name = "skipping_ended"
    sent_by = "run"

    reason: Text


class LinkRepaired(Event):
    """Another program had changed an end of an emulated link, which was set again.

    Args:
        link: the link's name.
        end: the node at that end.
        change: what had been changed.
    """

    event_name = "link_repaired"
    sent_by = "run"

    link: Text
    end: Text
    change: Text


class DishAssigned(Event):
    """A station has given a dish to a satellite.

    Args:
        station: the station.
        dish: number of the dish, from 1.
        satellite: the satellite.
        open_s: scenario time at which the dish has turned to it and the link is up.
        scheduler: who decided.
        why: why the satellite got it.
        waiting: satellites in view of the station that got no dish at that moment.
    """

    event_name = "dish_assigned"
    sent_by = "run"

    station: Text
    dish: int
    satellite: Text
    open_s: float
    scheduler: Text
    why: Text
    waiting: list[Text]


class DishReleased(Event):
    """A satellite has lost its dish.

    Args:
        station: the station.
        dish: number of the dish, from 1.
        satellite: the satellite.
        why: its pass ended, or another satellite got the dish.
    """

    event_name = "dish_released"
    sent_by = "run"

    station: Text
    dish: int
    satellite: Text
    why: Text


class FaultBegan(Event):
    """A fault of the scenario begins.

    Args:
        fault: its number in the scenario, from 1.
        what: its kind.
        target: what it hits: a satellite, a station or a link.
        until_s: scenario time of its end; null if it never ends.
        effect: what it does; of flipped bits the first ones.
    """

    event_name = "fault_began"
    sent_by = "run"

    fault: int
    what: Text
    target: Text
    until_s: float | None
    effect: Text


class FaultEnded(Event):
    """A fault of the scenario has ended.

    Args:
        fault: its number in the scenario, from 1.
        what: its kind.
        target: what it hit.
    """

    event_name = "fault_ended"
    sent_by = "run"

    fault: int
    what: Text
    target: Text


class BoardChanged(Event):
    """A board's agent has reported a new state.

    Args:
        board: the board's name in the inventory.
        state: the state; see nodes/contract/board.py.
        reason: the agent's reason, if it gave one.
    """

    event_name = "board"
    sent_by = "run"

    board: Text
    state: Text
    reason: Text | None = None


class ProgramChanged(Event):
    """A node's program, or a probe, has died, works again after a restart, or was given up.

    Args:
        program: name of the node, or of the probe.
        state: "lost", "ready" or "given up"; a lost program of a node is started again. A program of the
            user's is "finished" or, after an error, "given up".
        reason: how it ended, or why it was given up.
        killed: whether a signal ended it, so that its last events may be missing.
    """

    event_name = "program"
    sent_by = "run"

    program: Text
    state: ProgramState
    reason: Text | None = None
    killed: bool = False


class BrokerRestarted(Event):
    """A broker had died and was started again.

    Args:
        broker: the broker's name.
        restarts: number of restarts so far.
    """

    event_name = "broker_restarted"
    sent_by = "run"

    broker: Text
    restarts: int


class BrokerRefused(Event):
    """A broker has refused clients or packets; at most one event a second and kind.

    Args:
        broker: the broker's name.
        kind: "login", "packet" or "publication".
        count: number of refusals of that kind so far.
        sender: client identifier of the latest.
        what: its topic, reason or user name.
    """

    event_name = "broker_refused"
    sent_by = "run"

    broker: Text
    kind: Text
    count: int
    sender: Text
    what: Text | None = None
