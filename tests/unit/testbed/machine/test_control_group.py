"""Where control groups are made, by what /proc says."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import CapabilityError
from testbed.machine.control_group import Hierarchy, hierarchy

V1 = "30 25 0:26 / {0}/memory rw - cgroup cgroup rw,memory\n31 25 0:27 / {0}/cpu rw - cgroup cgroup rw,cpu\n"
V2 = "32 25 0:28 / {0}/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def proc(folder: Path, mounts: str, groups: str = "0::/\n") -> Path:
    (folder / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/vda rw\n" + mounts.format(folder))
    (folder / "cgroup").write_text(groups)
    for name in ("unified", "memory", "cpu"):
        (folder / name).mkdir()
        (folder / name / "cgroup.procs").touch()
    return folder


def test_version_1_is_used_where_it_has_the_controller(tmp_path: Path) -> None:
    groups = "4:memory:/container/7\n1:cpu,cpuacct:/\n0::/\n"
    at = proc(tmp_path, V1 + V2, groups)
    assert hierarchy("memory", at) == Hierarchy(tmp_path / "memory/container/7", 1)
    assert hierarchy("cpu", at) == Hierarchy(tmp_path / "cpu", 1)


def test_version_2_needs_a_controller_that_is_passed_on(tmp_path: Path) -> None:
    at = proc(tmp_path, V2)
    passed_on = tmp_path / "unified/cgroup.subtree_control"
    passed_on.write_text("memory pids\n")
    assert hierarchy("memory", at) == Hierarchy(tmp_path / "unified", 2)
    with pytest.raises(CapabilityError, match=rf"no controller 'cpu'; allow it: echo \+cpu > {passed_on}"):
        hierarchy("cpu", at)


def test_a_hierarchy_that_another_mount_hides_does_not_count(tmp_path: Path) -> None:
    at = proc(tmp_path, V1 + V2)
    (tmp_path / "memory/cgroup.procs").unlink()
    (tmp_path / "unified/cgroup.subtree_control").write_text("memory\n")
    assert hierarchy("memory", at) == Hierarchy(tmp_path / "unified", 2)


def test_a_machine_without_control_groups_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="no control groups are mounted"):
        hierarchy("cpu", proc(tmp_path, ""))
