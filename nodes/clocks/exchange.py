"""Comparison of this machine's clock with the run's, over the management plane.

The node sends a question: a word that it has not used before. The run answers with this word and the times
at which the question arrived and the answer left (nodes/contract/messages.py, ClockAnswer). Both have QoS 0:
after a loss the next question is sent anyway, and a late answer would be of little use. Delays in brokers and
threads make the round trip longer and the bound wider, but never wrong.
"""

from __future__ import annotations

import secrets
import threading
import time

from paho.mqtt.client import Client, MQTTMessage

from nodes.clocks.chrony import ChronyError, read_chrony
from nodes.clocks.offset import ClockOffset, Exchange, Offset
from nodes.contract import topics
from nodes.contract.board import ChronyReport
from nodes.contract.events import ClockCompared
from nodes.contract.messages import ClockAnswer
from nodes.contract.report import Report

FIRST = 10  # questions that are sent quickly after each connection
QUICKLY_S = 0.05
EVERY_S = 1.0
REPORT_EVERY_S = 10.0
GIVE_UP_S = 5.0
# A node that is loading its model reads answers late, which makes the first bounds wide.
SETTLED_S = 0.01  # a bound that is good enough to convert stamps
SETTLE_S = 5.0  # stamps are converted after this time in any case, since a slow path never reaches SETTLED_S


class ClockExchange:
    """Repeatedly requests the time of the run's clock.

    Reports `ClockCompared` after the first exchanges and then every REPORT_EVERY_S.

    Args:
        client: client of the management plane.
        slug: this node's name in topics.
        report: receives the events.
    """

    def __init__(self, client: Client, slug: str, report: Report) -> None:
        self._client = client
        self._question_topic = topics.clock_question(slug)
        self._answer_topic = topics.clock_answer(slug)
        self._report = report
        self._lock = threading.Lock()
        self._offset = ClockOffset()
        self._sent_s: dict[str, float] = {}
        self._first_left = FIRST
        self._first_answer_s: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="clock", daemon=True)
        client.message_callback_add(self._answer_topic, self._on_answer)

    @property
    def known(self) -> bool:
        """Whether an answer has arrived."""
        return self._offset.at(0.0) is not None

    @property
    def settled(self) -> bool:
        """Whether stamps may be converted: the bound is within SETTLED_S, or SETTLE_S have passed.

        Until then questions are sent quickly.
        """
        if (first_s := self._first_answer_s) is None:
            return False
        now_s = time.monotonic()
        return now_s - first_s >= SETTLE_S or self.at(now_s).bound_s <= SETTLED_S

    def start(self) -> None:
        """Start sending questions."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending questions."""
        self._stopping.set()

    def connected(self) -> None:
        """Subscribe, and send questions quickly for a while; call it after each connection."""
        self._client.subscribe(self._answer_topic, qos=0)
        self._first_left = FIRST

    def at(self, own_s: float) -> Offset:
        """Return the offset run - own at a moment of this machine's CLOCK_MONOTONIC.

        Raises:
            LookupError: no answer has arrived yet.
        """
        with self._lock:
            offset = self._offset.at(own_s)
        if offset is None:
            raise LookupError("the run has not answered with its time yet")
        return offset

    def run_s(self, own_s: float) -> float | None:
        """Return the run's time when this machine's clock shows `own_s`; None before the first answer."""
        return own_s + self.at(own_s).offset_s if self.known else None

    def _ask(self) -> None:
        reported_s: float | None = None
        while not self._stopping.wait(EVERY_S if self._first_left <= 0 and self.settled else QUICKLY_S):
            if not self._client.is_connected():
                continue
            self._first_left -= 1
            now_s = time.monotonic()
            if (
                self.settled
                and self._first_left <= 0
                and (reported_s is None or now_s - reported_s > REPORT_EVERY_S)
            ):
                reported_s = now_s
                self._tell()
            word = secrets.token_hex(8)
            with self._lock:
                self._sent_s = {w: s for w, s in self._sent_s.items() if now_s - s < GIVE_UP_S}
                self._sent_s[word] = time.monotonic()
            self._client.publish(self._question_topic, word, qos=0)

    def _on_answer(self, _: Client, __: object, message: MQTTMessage) -> None:
        back_s = time.monotonic()
        try:
            answer = ClockAnswer.model_validate_json(message.payload)
            with self._lock:
                sent_s = self._sent_s.pop(answer.asked)
                self._offset.add(Exchange(sent_s, answer.received_s, answer.answered_s, back_s))
                self._first_answer_s = self._first_answer_s or back_s
        except (ValueError, KeyError):
            return  # not an answer to this node, or too late

    def _tell(self) -> None:
        offset = self.at(time.monotonic())
        try:
            chrony: ChronyReport | str = read_chrony().report()
        except ChronyError as error:
            chrony = str(error)
        self._report(
            ClockCompared(
                offset_s=offset.offset_s,
                bound_s=offset.bound_s,
                drift_ppm=offset.drift * 1e6,
                drift_bound_ppm=offset.drift_bound * 1e6,
                round_trip_s=offset.round_trip_s,
                exchanges=offset.exchanges,
                breaks=self._offset.breaks,
                chrony=chrony,
            )
        )
