"""A folder of wheels from which a board installs the node programs without internet.

uv resolves the requirements, because it evaluates environment markers (architecture, Python version) for the
board; pip evaluates them for this machine, whatever `--platform` says, and would request the CUDA packages of
a PC. pip then downloads the resolved versions, wheels only.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

from nodes.contract.files import sha256, write_atomically
from testbed.errors import CapabilityError, InputError, TestbedError

MANIFEST = "bundle.json"
EXTRAS = ("node", "sensors")
# glibc of the oldest supported system: Debian 10 has 2.28, JetPack 6 has 2.35, Raspberry Pi OS bookworm 2.36.
GLIBC = (2, 28)
# Later aarch64 wheels on PyPI require the CUDA of servers, which neither a Jetson nor a Pi can use.
TORCH = "torch<2.11"
ARCHITECTURES = ("aarch64", "x86_64")
_SOURCE = Path(__file__).parents[3]


@dataclass(frozen=True)
class Target:
    """The system of a board.

    Args:
        architecture: As printed by `uname -m`.
        python: Python version, such as "3.10".

    Raises:
        InputError: there are no wheels for such a system.
    """

    architecture: str = "aarch64"
    python: str = "3.10"

    def __post_init__(self) -> None:
        """Check that wheels exist for such a system."""
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"unsupported architecture {self.architecture!r}: choose one of {', '.join(ARCHITECTURES)}"
            )
        if not re.fullmatch(r"3\.\d{1,2}", self.python) or int(self.python[2:]) < 10:
            raise InputError(
                f"unsupported Python version {self.python!r}: it has to be 3.10 or later, such as 3.11"
            )

    @property
    def platforms(self) -> list[str]:
        """Platform tags of usable wheels, the newest first (PEP 600; PEP 599 for the old name)."""
        minors = (GLIBC[1], 17)
        tags = [f"manylinux_2_{minor}_{self.architecture}" for minor in minors]
        return [*tags, f"manylinux2014_{self.architecture}"]


def make_bundle(
    folder: Path, target: Target, *, torch: str = TORCH, extras: Sequence[str] = EXTRAS
) -> list[Path]:
    """Fill a folder with the project's wheel, the wheels that it requires, and a manifest.

    Args:
        folder: Created if missing; the wheels of an earlier bundle in it are replaced.
        target: The system of the board.
        torch: A requirement for torch, or a wheel file, such as NVIDIA's for a JetPack.
        extras: Extras of this project to include.

    Returns:
        The wheels.

    Raises:
        InputError: the torch wheel does not exist, or the registry has no suitable wheels for the board.
        CapabilityError: uv or the project's source is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own_torch = Path(torch) if torch.endswith(".whl") else None
    if own_torch is not None and not own_torch.is_file():
        raise InputError(f"there is no torch wheel at {own_torch}")
    # Separate from an earlier bundle: its wheels for another Python may have the same name and version.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as scratch:
        new = Path(scratch)
        project = build_project(new)
        wanted = [need for need in requirements(project, extras) if not need.startswith("torch")]
        pins = resolve(
            [*wanted, torch if own_torch is None else f"torch @ {own_torch.absolute().as_uri()}"], target
        )
        download([pin for pin in pins if not pin.startswith("torch @")], new, target)
        if own_torch is not None:
            shutil.copy(own_torch, new)
        names = sorted(path.name for path in new.iterdir())
        for name in _names_of_bundle(folder) - set(names):
            (folder / name).unlink(missing_ok=True)
        wheels = [(new / name).replace(folder / name) for name in names]
    manifest = {
        "architecture": target.architecture,
        "python": target.python,
        "project": project.name,
        "requirements": pins,
        "files": {path.name: sha256(path) for path in wheels},
    }
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return wheels


def _names_of_bundle(folder: Path) -> set[str]:
    """Return the files of an earlier bundle."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {name for name in files if Path(name).name == name}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def build_project(folder: Path) -> Path:
    """Build this project's own wheel in a folder.

    Raises:
        CapabilityError: the project's source is not available.
    """
    if not (_SOURCE / "setup.py").is_file():
        raise CapabilityError(f"no setup.py in {_SOURCE}: bundles need a checkout of the project")
    with tempfile.TemporaryDirectory() as scratch:
        # Build a copy: setuptools leaves a folder `build` behind and includes its content in the next wheel.
        source, made = Path(scratch) / "source", Path(scratch) / "made"
        source.mkdir()
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(_SOURCE / name, source)
        for name in ("testbed", "nodes", "traces", "topologies"):
            shutil.copytree(_SOURCE / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        options = [
            "--no-deps",
            "--no-build-isolation",
            "--no-cache-dir",
            "--wheel-dir",
            str(made),
            str(source),
        ]
        _run([sys.executable, "-m", "pip", "wheel", "--quiet", *options], "the project's wheel")
        (built,) = made.glob("*.whl")
        wheel = folder / built.name
        wheel.write_bytes(built.read_bytes())
    return wheel


def requirements(wheel: Path, extras: Sequence[str]) -> list[str]:
    """Return the requirements of a wheel with the given extras, without the markers of the extras."""
    with ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(file.read(name).decode())
    found = []
    for need in metadata.get_all("Requires-Dist") or []:
        text, _, marker = (part.strip() for part in need.partition(";"))
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", marker)
        if extra is None or extra[1] in extras:
            others = re.sub(r"""(\s*and\s*)?extra == ['"][\w-]+['"]""", "", marker).strip()
            found.append(f"{text} ; {others}" if others else text)
    return found


def resolve(wanted: Sequence[str], target: Target) -> list[str]:
    """Choose a version of each required package for which there is a wheel for the board.

    Args:
        wanted: Requirements.
        target: The system of the board.

    Returns:
        Pinned requirements.

    Raises:
        InputError: there is no such set of versions.
        CapabilityError: uv is missing, or no package registry is reachable.
    """
    if find_spec("uv") is None:
        raise CapabilityError("bundles need the package uv: pip install '.[boards]'")
    platform = f"{target.architecture}-manylinux_{GLIBC[0]}_{GLIBC[1]}"
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--quiet", "--only-binary", ":all:"]
    command += ["--python-platform", platform, "--python-version", target.python]
    command += ["--no-header", "--no-annotate"]
    text = _run(command, f"a resolution for {target.architecture}, Python {target.python}", "\n".join(wanted))
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def download(pins: Sequence[str], folder: Path, target: Target) -> None:
    """Download the wheels of pinned requirements.

    Args:
        pins: Pinned requirements.
        folder: Destination of the wheels.
        target: The system of the board.

    Raises:
        InputError: there is no such wheel.
        CapabilityError: no package registry is reachable.
    """
    options = [f"--platform={tag}" for tag in target.platforms]
    options += [
        f"--python-version={target.python}",
        "--implementation=cp",
        "--only-binary=:all:",
        "--no-deps",
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--dest", str(folder)]
        _run([*command, "--requirement", file.name], "the wheels")


def read_manifest(folder: Path) -> dict[str, str]:
    """Check a bundle and return the SHA-256 of each of its files by name.

    Raises:
        InputError: the folder is not a bundle, or its files were changed.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is not a bundle ({error}); create one: spaceverse board bundle"
        ) from error
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or sha256(path) != digest:
            raise InputError(
                f"{path} was changed or removed; create the bundle again: spaceverse board bundle"
            )
    return dict(files)


def _run(command: Sequence[str], what: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    lines = [re.sub(r"^\W+", "", line).strip() for line in done.stderr.splitlines()]
    text = " ".join(line for line in lines if line and not line.upper().startswith("WARNING"))
    text = text[:300] or "no message"
    if re.search(r"connect|resolve host|dns|timed? ?out|network", text, re.IGNORECASE):
        raise CapabilityError(f"cannot obtain {what}: no package registry is reachable: {text}")
    if "No module named" in text:
        raise TestbedError(f"cannot obtain {what}: {text}")
    raise InputError(f"cannot obtain {what}: {text}")
