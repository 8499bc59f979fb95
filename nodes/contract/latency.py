"""The parts of a frame's time from capture to answer: one vocabulary for events, results, tables and plots.

captured  inference   ends  first byte sent            last byte received  inference   ends     answered
   |--queue--|--on board--|--wait, queue--|--link queue, serial., prop.--|--queue--|--ground--|--reporting--|
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from capture to answer on the ground by what they were spent on; they sum to the whole.

    Args:
        queue_s: Waiting behind other frames, on board, in the outbox and on the ground.
        onboard_inference_s: The compact model's work on the satellite.
        contact_wait_s: Without a connection to any ground station while nothing else was done for the frame.
        link_queue_s: Between the first byte and the last one behind other data on the link: other items, and
            the pauses of flow control.
        serialisation_s: The time that the link needs for the bytes of this frame, at the trace's rate.
        propagation_s: One-way delay of the link when the last byte arrived.
        ground_inference_s: The regular model's work on the ground.
        reporting_s: From the finished answer until the ground station has reported it.
    """

    queue_s: float
    onboard_inference_s: float
    contact_wait_s: float
    link_queue_s: float
    serialisation_s: float
    propagation_s: float
    ground_inference_s: float
    reporting_s: float

    @property
    def total_s(self) -> float:
        """Sum of the parts."""
        return float(sum(getattr(self, part) for part in PARTS))


PARTS = tuple(field.name for field in fields(Latency))

LABELS = {
    "queue_s": "queue",
    "onboard_inference_s": "on-board inference",
    "contact_wait_s": "contact wait",
    "link_queue_s": "link queue",
    "serialisation_s": "serialisation",
    "propagation_s": "propagation",
    "ground_inference_s": "ground inference",
    "reporting_s": "reporting",
}

SHORT_LABELS = {
    "queue_s": "queue",
    "onboard_inference_s": "board",
    "contact_wait_s": "wait",
    "link_queue_s": "linkq",
    "serialisation_s": "serial",
    "propagation_s": "prop",
    "ground_inference_s": "ground",
    "reporting_s": "report",
}
