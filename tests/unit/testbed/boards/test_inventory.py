"""boards.toml: valid contents, and errors for invalid ones."""

from pathlib import Path

import pytest

from testbed.boards import inventory
from testbed.boards.inventory import NicAttachment, VxlanAttachment, read_inventory
from testbed.errors import InputError

GOOD = 'management = "192.0.2.1"\nattach = { kind = "nic", interface = "enp3s0" }\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "boards.toml"
    path.write_text(text)
    return path


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    assert inventory.__doc__ is not None
    example = inventory.__doc__.split("\n\n", 1)[1].replace("\n    ", "\n").strip()
    boards = read_inventory(written(tmp_path, example)).boards
    assert list(boards) == ["jetson-1", "pi-2", "far-3", "far-4"]
    assert boards["jetson-1"].attach == NicAttachment(kind="nic", interface="enp3s0")
    assert boards["jetson-1"].ssh_user == "nvidia"
    assert boards["far-3"].attach == VxlanAttachment(kind="vxlan", remote="10.8.0.3", vni=3, port=4789)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[boards.a\n", "not TOML"),
        ("", "boards: Field required"),
        ("[boards]\n", "boards: Dictionary should have at least 1 item"),
        (f"[boards.a]\n{GOOD}colour = 'red'\n", "board a: unknown field 'colour'"),
        ("[boards.a]\nmanagement = 'h'\n", "board a: attach: Field required"),
        (f"[boards.Jet_1]\n{GOOD}", "board Jet_1: name: String should match"),
        (
            "[boards.a]\nmanagement='h'\nattach={kind='usb'}\n",
            "attach: unknown kind 'usb'; expected one of 'nic', 'vlan', 'vxlan', 'route'",
        ),
        ("[boards.a]\nmanagement='h'\nattach={kind='vlan',interface='e',vlan=4095}\n", "less than or equal"),
        ("[boards.a]\nmanagement='h'\nattach={kind='vlan',interface='e',vlan='7'}\n", "valid integer"),
        ("[boards.a]\nmanagement='h'\nattach={kind='vxlan',remote='x',vni=7}\n", "'x' is not an IP address"),
        ("[boards.a]\nmanagement='h'\nattach={kind='route',address='fd00::1'}\n", "needs an IPv4 address"),
        (f"[boards.a]\n{GOOD}[boards.b]\n{GOOD}", "boards a and b are attached alike: NIC enp3s0"),
        (
            f"[boards.a]\n{GOOD}[boards.b]\nmanagement='h'\nattach={{kind='vlan',interface='enp3s0',vlan=7}}\n",
            "board b is on a VLAN of enp3s0, which another board uses as its NIC",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_inventory(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_board(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory; create the inventory"):
        read_inventory(tmp_path / "none.toml")
    boards = read_inventory(written(tmp_path, f"[boards.a]\n{GOOD}"))
    with pytest.raises(InputError, match="unknown board 'b'; the inventory has: a"):
        boards.board("b")
