"""Images of containers: which are accepted, how they are unpacked, and what is said of the others."""

from __future__ import annotations

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from testbed.errors import CapabilityError, InputError, ScenarioError
from testbed.machine.stop_request import Stopped
from testbed.run.programs import images
from testbed.run.programs.images import check_image, unpacked
from tests.support.container_image import archive, image_layout

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners of unpacked files are set by root alone")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of one file, with a name that is no valid part of a reference."""
    folder = tmp_path_factory.mktemp("image: 1")
    (folder / "root").mkdir()
    (folder / "root/data").write_text("content")
    plain = image_layout(
        tmp_path_factory.mktemp("plain") / "layout", folder / "root", "--config.workingdir", "/w"
    )
    return plain.rename(folder / "layout")


@as_root
def test_a_layout_and_its_archive_are_unpacked_alike(layout: Path, tmp_path: Path) -> None:
    for number, path in enumerate((layout, archive(layout, tmp_path / "saved.tar"))):
        check_image(path)
        image = unpacked(path, tmp_path / str(number))
        assert (image.root / "data").read_text() == "content"
        assert image.process["cwd"] == "/w" and image.process["user"] == {"uid": 0, "gid": 0}


def test_a_root_filesystem_is_used_where_it_is(tmp_path: Path) -> None:
    check_image(tmp_path)
    assert unpacked(tmp_path, tmp_path / "unused").root == tmp_path
    assert list(tmp_path.iterdir()) == []


@as_root
def test_an_archive_writes_nothing_outside_of_its_folder(layout: Path, tmp_path: Path) -> None:
    file = archive(layout, tmp_path / "saved.tar")
    with tarfile.open(file, "a") as made:
        for name in ("../out", "/out-of-an-image", "blobs/sha256/../../../out"):
            member = tarfile.TarInfo(name)
            member.size = 4
            made.addfile(member, BytesIO(b"evil"))
        link = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        made.addfile(link)
    unpacked(file, tmp_path / "deep/er")
    assert not list(tmp_path.rglob("out")) and not Path("/out-of-an-image").exists()


@as_root
def test_what_is_no_image_is_refused_with_what_writes_one(layout: Path, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no image at .*none: write it with docker save"):
        check_image(tmp_path / "none")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(
        ScenarioError,
        match=r"notes\.txt is no OCI image \(it is no tar file\): .*podman save --format oci-archive",
    ):
        unpacked(text, tmp_path / "1")
    with tarfile.open(tmp_path / "old.tar", "w"):
        pass
    with pytest.raises(ScenarioError, match="it holds no oci-layout"):
        unpacked(tmp_path / "old.tar", tmp_path / "2")
    two = tmp_path / "two"
    two.mkdir()
    index = json.loads((layout / "index.json").read_text())
    (two / "index.json").write_text(json.dumps({**index, "manifests": index["manifests"] * 2}))
    (two / "oci-layout").write_text((layout / "oci-layout").read_text())
    with pytest.raises(ScenarioError, match="it holds 2 images instead of one"):
        unpacked(two, tmp_path / "3")
    (two / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"two could not be unpacked: open CAS: .*invalid image"):
        unpacked(two, tmp_path / "4")


@as_root
def test_an_image_needs_what_unpacks_it(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find_program", lambda name: None)
    with pytest.raises(CapabilityError, match="umoci, which unpacks images, was not found: apt-get install"):
        check_image(layout)


@as_root
def test_a_stop_ends_the_unpacking(layout: Path, tmp_path: Path) -> None:
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        unpacked(layout, tmp_path / "stopped", stop)
    assert not (tmp_path / "stopped/bundle/config.json").exists()
