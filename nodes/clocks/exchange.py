"""Comparison of this machine's clock with the run's, over the management plane.

The node sends a question: a word that it has not used before. The run answers with that word and the times
at which the question came and the answer left (nodes/contract/messages.py, ClockAnswer). Both are QoS 0: a
lost question is sent anew, and a late answer would say little. Whatever brokers and threads add makes the
round trip longer, and with it the bound; it never makes the bound wrong.
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

FIRST = 10  # so many questions are asked quickly, after each connection
QUICKLY_S = 0.05
EVERY_S = 1.0
REPORT_EVERY_S = 10.0
GIVE_UP_S = 5.0
# A program that loads its model answers late, which makes the first bounds wide.
SETTLED_S = 0.01  # known within this, the comparison is good enough to tell stamps by
SETTLE_S = 5.0  # or after so long; a slow way never gets there


class ClockExchange:
    """Repeatedly asks the run for the time of its clock.

    It reports `ClockCompared` after the first exchanges and then every REPORT_EVERY_S.

    Args:
        client: of the management plane.
        slug: this node's name in topics.
        report: gets the events.
    """

    def __init__(self, client: Client, slug: str, report: Report) -> None:
        self._client = client
        self._question_topic = topics.clock_question(slug)
        self._answer_topic = topics.clock_answer(slug)
        self._report = report
        self._lock = threading.Lock()
        self._offset = ClockOffset()
        self._asked: dict[str, float] = {}
        self._first_left = FIRST
        self._first_answer_s: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="clock", daemon=True)
        client.message_callback_add(self._answer_topic, self._on_answer)

    @property
    def known(self) -> bool:
        """Whether there was an answer yet."""
        return self._offset.at(0.0) is not None

    @property
    def settled(self) -> bool:
        """Whether stamps may be told: the clock is known within SETTLED_S, or has been compared for SETTLE_S.

        Until then questions go out quickly.
        """
        if (first_s := self._first_answer_s) is None:
            return False
        now_s = time.monotonic()
        return now_s - first_s >= SETTLE_S or self.at(now_s).bound_s <= SETTLED_S

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def connected(self) -> None:
        """To be called after each connection: subscribe, and ask quickly for a while."""
        self._client.subscribe(self._answer_topic, qos=0)
        self._first_left = FIRST

    def at(self, own_s: float) -> Offset:
        """Return run - own at a moment of this machine's CLOCK_MONOTONIC.

        Raises:
            LookupError: there was no answer yet.
        """
        with self._lock:
            offset = self._offset.at(own_s)
        if offset is None:
            raise LookupError("the run has not told its time yet")
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
                self._asked = {w: s for w, s in self._asked.items() if now_s - s < GIVE_UP_S}
                self._asked[word] = time.monotonic()
            self._client.publish(self._question_topic, word, qos=0)

    def _on_answer(self, _: Client, __: object, message: MQTTMessage) -> None:
        back_s = time.monotonic()
        try:
            answer = ClockAnswer.model_validate_json(message.payload)
            with self._lock:
                sent_s = self._asked.pop(answer.asked)
                self._offset.add(Exchange(sent_s, answer.received_s, answer.answered_s, back_s))
                self._first_answer_s = self._first_answer_s or back_s
        except (ValueError, KeyError):
            return  # not an answer to this node, or too late; the next one will be

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
