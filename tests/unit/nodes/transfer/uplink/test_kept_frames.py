"""Images that are kept for later questions: as many as the room permits, the newest, and those in use."""

from __future__ import annotations

from pathlib import Path

from nodes.transfer.uplink.kept_frames import KeptFrames


def image(folder: Path, name: str, size_bytes: int = 100) -> Path:
    path = folder / name
    path.write_bytes(name.encode() * (size_bytes // len(name)))
    return path


def test_the_oldest_goes_first_unless_a_question_waits_for_it(tmp_path: Path) -> None:
    kept = KeptFrames(tmp_path / "kept", 300)
    for name in "abc":
        assert kept.keep(name, image(tmp_path, name))
    assert kept.image("a") is not None
    assert kept.keep("d", image(tmp_path, "d"))
    assert kept.image("b") is None
    kept.release("a")
    assert kept.keep("e", image(tmp_path, "e"))
    assert [kept.image(name) is not None for name in "acde"] == [False, True, True, True]


def test_an_image_that_does_not_fit_displaces_none(tmp_path: Path) -> None:
    kept = KeptFrames(tmp_path / "kept", 150)
    assert kept.keep("a", image(tmp_path, "a"))
    assert not kept.keep("big", image(tmp_path, "big", 600))
    assert kept.image("a") is not None and not kept.keep("b", image(tmp_path, "b"))


def test_a_restart_finds_what_was_kept_in_its_order(tmp_path: Path) -> None:
    first = KeptFrames(tmp_path / "kept", 200)
    for name in "ab":
        first.keep(name, image(tmp_path, name))
    again = KeptFrames(tmp_path / "kept", 200)
    found = again.image("b")
    assert found is not None and found.read_bytes() == b"b" * 100
    assert again.keep("c", image(tmp_path, "c")) and again.image("a") is None
