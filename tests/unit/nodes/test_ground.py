"""The ground program between inbox and model: foreign answers, damage, disks that refuse for a while."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import msgpack
import pytest
from PIL import Image

from nodes.contract.config import BrokerAddress, GroundConfig
from nodes.errors import WithdrawnError
from nodes.ground import Ground
from nodes.onboard.message import read_regions
from nodes.regions import Grid, pack
from nodes.runtime.inference import Question
from nodes.transfer.files import chunk_digest
from nodes.transfer.inbox import InboxItem
from nodes.transfer.messages import Again, Chunk, Kind, Manifest, Piece, encode, item_id
from nodes.transfer.receiver import Receiver
from nodes.vlm.answer import ServerAnswer, Timings


class Station:
    """A ground program whose threads do not run; the test does their work."""

    def __init__(self, folder: Path) -> None:
        broker = BrokerAddress(unix_socket=folder / "socket")
        config = GroundConfig(
            name="G", management=broker, broker=broker, model="owner/model", inbox=folder / "inbox"
        )
        self.ground = Ground(config)
        self.receiver = Receiver(self.ground._inbox, self.ground._report, self.ground._complete)

    def give(self, content: bytes, kind: Kind, frame: str = "f", **metadata: str) -> InboxItem:
        sha256 = hashlib.sha256(content).digest()
        name = item_id("sat", kind, frame, sha256)
        manifest = Manifest(
            item_id=name,
            kind=kind,
            frame=frame,
            size_bytes=len(content),
            sha256=sha256,
            chunk_bytes=4096,
            priority=0,
            metadata=metadata,
            query=1,
            data=content,
        )
        self.receiver.handle("sat", encode(manifest), 0.0)
        item = self.ground._inbox.find("sat", name)
        assert item is not None
        return item

    def take_events(self) -> None:
        """Do what the connection does once the run's broker has all events."""
        for _, on_taken in self.ground._management._waiting:
            if on_taken is not None:
                on_taken()
        self.ground._settle_taken(0.0)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [r.event.fields() for r, _ in self.ground._management._waiting if r.name == name]


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path)


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize("depth", [1, 100, 900, 990, 1020, 3000])
@pytest.mark.parametrize("key", ["answer", "confidence", "extra"])
def test_nested_answer_is_refused_and_the_next_is_passed_on(station: Station, depth: int, key: str) -> None:
    fields = {"answer": b"\xa3yes", "confidence": b"\xcb" + bytes(8), key: nested(depth)}
    body = b"".join(bytes([0xA0 + len(name)]) + name.encode() + value for name, value in fields.items())
    station.give(bytes([0x80 + len(fields)]) + body, "answer", "bad")
    station.give(msgpack.packb({"answer": "yes", "confidence": 0.5}), "answer", "good")
    answered = [e["frame"] for e in station.events("answered")]
    refused = [e["frame"] for e in station.events("refused")]
    assert "good" in answered and ("bad" in refused or (key == "extra" and "bad" in answered))


@pytest.mark.parametrize("confidence", [float("nan"), float("inf"), -1.0, "high", None])
def test_answer_with_an_absurd_confidence_is_refused(station: Station, confidence: object) -> None:
    station.give(msgpack.packb({"answer": "yes", "confidence": confidence}), "answer")
    assert len(station.events("refused")) == 1 and station.events("answered") == []


def test_answer_that_changed_on_disk_is_not_passed_on(station: Station) -> None:
    station.ground._asked = {Path(str(n)): None for n in range(64)}  # type: ignore[misc]  # the queue is full
    answer = msgpack.packb({"answer": "yes", "confidence": 0.5})
    item = station.give(answer, "answer")
    station.receiver.replies()
    item.data_path.write_bytes(item.data_path.read_bytes().replace(b"yes", b"no!"))
    station.ground._asked = {}
    station.ground._sweep_once()
    assert station.events("answered") == station.events("refused") == []
    (trouble,) = station.events("inbox_trouble")
    assert "damaged after it was received; asked for again" in trouble["reason"]
    ((_, request),) = station.receiver.replies()
    assert request == Again(item.manifest.item_id, item.manifest.sha256)
    station.give(answer, "answer")
    assert [e["answer"] for e in station.events("answered")] == ["yes"]


def test_answer_that_cannot_be_read_now_is_passed_on_later(station: Station) -> None:
    answer = msgpack.packb({"answer": "yes", "confidence": 0.5})
    station.ground._asked = {Path(str(n)): None for n in range(64)}  # type: ignore[misc]
    item = station.give(answer, "answer")
    station.ground._asked = {}
    claim = item.claim()
    assert claim is not None
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        station.ground._complete(item)
        station.ground._pass_on(claim)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert station.events("answered") == station.events("refused") == []
    assert "Too many open files" in station.events("inbox_trouble")[0]["reason"]
    station.ground._sweep_once()
    assert [e["answer"] for e in station.events("answered")] == ["yes"]


def test_answered_frame_that_cannot_be_marked_is_marked_later_and_not_reported_again(
    station: Station, tmp_path: Path
) -> None:
    station.ground._asked = {Path(str(n)): None for n in range(64)}  # type: ignore[misc]
    item = station.give(msgpack.packb({"answer": "yes", "confidence": 0.5}), "answer")
    station.ground._asked = {}
    claim = item.claim()
    assert claim is not None
    item.folder.rename(tmp_path / "away")
    station.ground._report_answer(claim, "yes", "satellite", 0.5)
    station.take_events()
    (tmp_path / "away").rename(item.folder)
    assert "cannot be marked" in station.events("inbox_trouble")[0]["reason"]
    station.ground._sweep_once()
    assert (item.folder / "answered").exists() and len(station.events("answered")) == 1


class Model:
    """Answers with the size of the picture."""

    def answer(self, image: Image.Image, prompt: str, *, max_new_tokens: int) -> SimpleNamespace:
        return SimpleNamespace(text=str(image.size), confidence=0.5)


def picture() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 48)).save(data, "PNG")
    return data.getvalue()


def ask(station: Station, item: InboxItem) -> Any:
    return station.ground._answer(Model(), Question("f", item.data_path, "?"), None).text  # type: ignore[arg-type]


def flip(item: InboxItem) -> None:
    content = bytearray(item.data_path.read_bytes())
    content[-1] ^= 1
    item.data_path.write_bytes(content)


def cut(item: InboxItem) -> None:
    os.truncate(item.data_path, 10)


def remove(item: InboxItem) -> None:
    item.data_path.unlink()


class Answer(SimpleNamespace):
    def __init__(self) -> None:
        timings = SimpleNamespace(preprocess_s=None, vision_s=None, prefill_s=None, decode_s=None)
        super().__init__(text="yes", confidence=0.5, timings=timings)


@pytest.mark.parametrize("how", [flip, cut, remove])
def test_image_that_changed_on_disk_is_asked_for_again_and_then_answered(
    station: Station, how: Callable[[InboxItem], None]
) -> None:
    item = station.give(picture(), "image", prompt="?")
    assert ask(station, item) == "(64, 48)"
    how(item)
    with pytest.raises(WithdrawnError):
        ask(station, item)
    question = Question("f", item.data_path, "?")
    station.ground._put_off(question)
    station.ground._sweep_once()
    assert station.ground._asked == {} and station.events("refused") == []
    assert any(isinstance(message, Again) for _, message in station.receiver.replies())
    station.give(picture(), "image", prompt="?")
    assert ask(station, item) == "(64, 48)"
    assert len(station.events("inbox_trouble")) == 1


def test_model_sees_the_bytes_that_were_checked_also_if_they_change_meanwhile(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture()
    item = station.give(image, "image", prompt="?")
    seen: list[bytes] = []

    def reading(model: Model, form: str, file: BinaryIO, prompt: str, most: int) -> SimpleNamespace:
        cut(item)
        flip(item)
        seen.append(file.read())
        return SimpleNamespace(text="yes", confidence=0.5)

    monkeypatch.setattr("nodes.ground.answer_received", reading)
    assert ask(station, item) == "yes" and seen == [image]


def test_large_image_that_changes_while_the_model_reads_it_is_asked_for_again(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.ground.IN_MEMORY_BYTES", 10)
    item = station.give(picture(), "image", prompt="?")
    assert ask(station, item) == "(64, 48)"

    class Reader(Model):
        def answer(self, image: Image.Image, prompt: str, *, max_new_tokens: int) -> SimpleNamespace:
            flip(item)
            return super().answer(image, prompt, max_new_tokens=max_new_tokens)

    with pytest.raises(WithdrawnError):
        station.ground._answer(Reader(), Question("f", item.data_path, "?"), None)  # type: ignore[arg-type]
    assert [type(message) for _, message in station.receiver.replies()][-1] is Again


def test_image_that_came_twice_while_it_waited_for_the_model_is_answered_once(station: Station) -> None:
    item = station.give(picture(), "image", prompt="?")
    item.data_path.unlink()
    station.ground._sweep_once()
    station.give(picture(), "image", prompt="?")
    question = Question("f", item.data_path, "?")
    assert ask(station, item) == "(64, 48)"
    station.ground._answered(question, Answer(), 0.0)
    station.take_events()
    shutil.rmtree(item.folder)  # as in the case above, but too late to matter
    station.receiver.replies()
    station.ground._sweep_once()
    assert station.receiver.replies() == [] and station.ground._inbox.missed == {}
    assert station.ground._asked == {} and len(station.events("answered")) == 1


def test_image_whose_folder_was_replaced_is_asked_about_once(station: Station) -> None:
    item = station.give(picture(), "image", prompt="?")
    shutil.rmtree(item.folder)
    station.ground._sweep_once()
    station.give(picture(), "image", prompt="?")  # its manifest is unknown now
    station.give(picture(), "image", prompt="?")
    with pytest.raises(WithdrawnError, match="replaced"):
        ask(station, item)  # its claim is one on a file that is gone, and another station may have one
    station.ground._put_off(Question("f", item.data_path, "?"))
    station.ground._sweep_once()
    assert ask(station, item) == "(64, 48)"


def test_model_waits_for_an_image_that_cannot_be_opened_now(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.ground.READ_AGAIN_S", 0.01)
    item = station.give(picture(), "image", prompt="?")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    timer = threading.Timer(0.3, resource.setrlimit, (resource.RLIMIT_NOFILE, before))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    timer.start()
    try:
        assert ask(station, item) == "(64, 48)"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        timer.cancel()
    assert len(station.events("inbox_trouble")) == 1, "reported once, not at every attempt"


def test_answer_of_megabytes_becomes_an_event_that_brokers_take(station: Station) -> None:
    item = station.give(picture(), "image", prompt="?")
    station.ground._report_answer(
        station.ground._asked[item.data_path], "\N{WAVING HAND SIGN}x\n" * 1_000_000, "ground", 0.5
    )
    (record,) = (r for r, _ in station.ground._management._waiting if r.name == "answered")
    assert len(record.to_line()) < 200_000
    answer = record.event.fields()["answer"]
    assert answer.endswith("of 3000000 characters)") and answer.startswith("\N{WAVING HAND SIGN}x\n")


def test_texts_of_usual_length_are_left_alone(station: Station) -> None:
    item = station.give(msgpack.packb({"answer": "x" * 3000, "confidence": 0.5}), "answer")
    assert item.complete and station.events("answered")[0]["answer"] == "x" * 3000
    assert not item.answered, "the run does not know the answer yet"
    station.take_events()
    assert item.answered


def test_a_message_that_a_contact_cut_off_is_answered_from_what_came(tmp_path: Path) -> None:
    ends = CutOff(tmp_path)
    ground, frame = ends.ground, Image.effect_noise((320, 320), 60).convert("RGB")
    packed = pack(frame, Grid(320, 320), [float(index + 1) for index in range(16)], 10**6)
    ends.begin(packed.pieces, arrived=3)
    ground._sweep_once()
    assert ground._asked == {}, "the rest may come"
    assert ground._parts is not None and ground._parts.next_cut_s() == ends.now_s + 5.0
    ends.now_s += 5.0
    ground._sweep_once()
    ((path, claim),) = ground._asked.items()
    question = Question("f", path, "how many?", "regions", satellite="sat")
    seen: list[Image.Image] = []

    def answer(image: Image.Image, prompt: str, *, max_new_tokens: int) -> ServerAnswer:
        seen.append(image)
        return ServerAnswer("two", (), Timings(0.0, 0.0, 0.0, 0.0))

    found = ground._answer(SimpleNamespace(answer=answer), question, None)  # type: ignore[arg-type]
    assert found.text == "two" and seen[0].size == frame.size
    assert read_regions(path).regions[1].index == 14
    claim.answered()
    ground._sweep_once()
    assert claim.item.answered


class CutOff(Station):
    """A station with some patience, to which a part of a message comes."""

    now_s = 100.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = self.ground._config.model_copy(update={"patience_s": 5.0})
        self.ground = Ground(config)
        self.receiver = self.ground._link.receiver
        assert self.ground._parts is not None
        self.ground._parts._scenario_s = lambda: self.now_s

    def begin(self, pieces: tuple[bytes, ...], arrived: int) -> None:
        """Announce a message, and let its first pieces come."""
        sha256 = hashlib.sha256(b"".join(pieces)).digest()
        name = item_id("sat", "image", "f", sha256)
        manifest = Manifest(
            item_id=name,
            kind="image",
            frame="f",
            size_bytes=sum(map(len, pieces)),
            sha256=sha256,
            chunk_bytes=65536,
            priority=1,
            metadata={"prompt": "how many?", "form": "regions"},
            query=1,
            picture=bytes(16),
            pieces=tuple(Piece(len(piece), chunk_digest(piece)) for piece in pieces),
        )
        self.receiver.handle("sat", encode(manifest), 0.0)
        for number in range(arrived):
            chunk = Chunk(name, manifest.chunk_offset(number), pieces[number])
            self.receiver.handle("sat", encode(chunk), 0.0)
