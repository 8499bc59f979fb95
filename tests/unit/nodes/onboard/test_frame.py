"""One frame on board while the machine is short of something."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nodes.contract import files
from nodes.contract.files import patiently
from nodes.errors import ImageError
from nodes.onboard.frame import OnboardFrame
from nodes.onboard.judge import Judge
from nodes.policies import SendReduced
from nodes.vlm.image import open_image


@contextmanager
def no_descriptor_left() -> Iterator[threading.Event]:
    """Let nobody open a file until the event is set, or the block ends."""
    before, over = resource.getrlimit(resource.RLIMIT_NOFILE), threading.Event()

    def restore() -> None:
        over.wait(10)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    restoring = threading.Thread(target=restore)
    restoring.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield over
    finally:
        over.set()
        restoring.join()


def test_a_frame_waits_while_no_file_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "AGAIN_S", 0.02)
    Image.new("RGB", (64, 64)).save(tmp_path / "f.png")
    open_image(tmp_path / "f.png")  # imports what it needs
    told: list[OSError] = []
    nothing: Any = None  # the model is not asked
    with no_descriptor_left() as over:

        def waits(error: OSError) -> None:
            told.append(error)
            threading.Timer(0.05, over.set).start()

        with OnboardFrame(nothing, tmp_path / "f.png", "?", Judge(), 8, None, waits) as frame:
            message = frame.message(SendReduced(2))
    assert message.form == "reduced" and message.data
    assert [error.errno for error in told] == [errno.EMFILE], "told once"


def test_only_what_passes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "AGAIN_S", 0.0)
    tries: list[int] = []

    def failing(number: int, times: int) -> Any:
        def attempt() -> str:
            tries.append(number)
            if tries.count(number) <= times:
                raise OSError(number, os.strerror(number))
            return "read"

        return attempt

    for number in (errno.EMFILE, errno.ENFILE, errno.EROFS, errno.ESTALE, errno.ENOSPC):
        assert patiently(failing(number, 3), lambda error: None) == "read"
    for number in (errno.ENOENT, errno.EACCES, errno.EIO, errno.EFBIG):
        with pytest.raises(OSError, match=os.strerror(number)):
            patiently(failing(number, 1), lambda error: None)
        assert tries.count(number) == 1
    monkeypatch.setattr(files, "AGAIN_MAX_S", 0.0)
    with pytest.raises(OSError, match="Read-only"):
        patiently(failing(errno.EROFS, 9), lambda error: None)
    with pytest.raises(ImageError, match="no image"):
        open_image(tmp_path / "none.png")
