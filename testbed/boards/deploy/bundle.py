"""A folder of wheels with which a board installs the node's programs without internet.

uv resolves, for it answers the questions of packages ("is this Linux on aarch64? Python below 3.11?") as the
board would; pip answers them as this machine does, whatever `--platform` says, and would ask for the CUDA of
a PC. pip then downloads what was resolved, wheels only.
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

from nodes.contract.checksum import sha256
from testbed.errors import CapabilityError, InputError, TestbedError

MANIFEST = "bundle.json"
EXTRAS = ("node", "sensors")
# glibc of the oldest system that is meant: 2.28 is Debian 10's; JetPack 6 has 2.35, Raspberry Pi OS bookworm
# 2.36.
GLIBC = (2, 28)
# PyPI's later wheels for aarch64 bring the CUDA of servers, which neither a Jetson nor a Pi can use.
TORCH = "torch<2.11"
ARCHITECTURES = ("aarch64", "x86_64")
_SOURCE = Path(__file__).parents[3]


@dataclass(frozen=True)
class Target:
    """What a board is: `architecture` as `uname -m` says it, `python` as "3.10"."""

    architecture: str = "aarch64"
    python: str = "3.10"

    def __post_init__(self) -> None:
        """Raise InputError for what no wheels are made for."""
        if self.architecture not in ARCHITECTURES:
            raise InputError(f"no bundle for {self.architecture!r}: give one of {', '.join(ARCHITECTURES)}")
        if not re.fullmatch(r"3\.\d{1,2}", self.python) or int(self.python[2:]) < 10:
            raise InputError(f"the board's Python is {self.python!r}: give 3.10 or later, such as 3.11")

    @property
    def platforms(self) -> list[str]:
        """The tags of wheels that run there, the newest first (PEP 600; PEP 599 for the old name)."""
        minors = (GLIBC[1], 17)
        tags = [f"manylinux_2_{minor}_{self.architecture}" for minor in minors]
        return [*tags, f"manylinux2014_{self.architecture}"]


def make_bundle(
    folder: Path, target: Target, *, torch: str = TORCH, extras: Sequence[str] = EXTRAS
) -> list[Path]:
    """Fill a folder with the project's wheel, all that it needs, and a manifest; returns the wheels.

    Args:
        folder: made if missing; the wheels of an earlier bundle in it are replaced.
        target: the board.
        torch: which torch, as a requirement; or a wheel file, such as NVIDIA's for a JetPack.
        extras: of this project.

    Raises:
        InputError: `torch` is neither, or a registry has no such wheels for the board.
        CapabilityError: uv is missing, or the project's source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own_torch = Path(torch) if torch.endswith(".whl") else None
    if own_torch is not None and not own_torch.is_file():
        raise InputError(f"no torch wheel at {own_torch}")
    # Apart from what is there: a wheel for another Python has the same name and version.
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
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return wheels


def _names_of_bundle(folder: Path) -> set[str]:
    """The files that an earlier bundle brought."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {name for name in files if Path(name).name == name}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def build_project(folder: Path) -> Path:
    """Make this project's own wheel. Raises CapabilityError where its source is not at hand."""
    if not (_SOURCE / "setup.py").is_file():
        raise CapabilityError(f"no setup.py in {_SOURCE}: bundles are made from a checkout of the project")
    with tempfile.TemporaryDirectory() as scratch:
        # From a copy: setuptools leaves a folder `build` behind, and puts what is in it into the next wheel.
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
    """What a wheel needs for these of its extras, from its own metadata, without the extras' marker."""
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
    """Name one version of everything that `wanted` needs on the board, for which there is a wheel.

    Raises InputError: there is none; CapabilityError: uv is missing, or no registry answers.
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
    """Download wheels of exactly these versions. Raises InputError."""
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
    """Check a bundle: the SHA-256 of each of its files by name. Raises InputError."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is no bundle ({error}); make one: spaceverse board bundle") from error
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or sha256(path) != digest:
            raise InputError(
                f"{path} is not what the bundle was made of; make it again: spaceverse board bundle"
            )
    return dict(files)


def _run(command: Sequence[str], what: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = [re.sub(r"^\W+", "", line).strip() for line in done.stderr.splitlines()]
    text = " ".join(line for line in said if line and not line.upper().startswith("WARNING")) or "no message"
    if re.search(r"connect|resolve host|dns|timed? ?out|network", text, re.IGNORECASE):
        raise CapabilityError(f"{what}: no package registry answers: {text[:300]}")
    if "No module named" in text:
        raise TestbedError(f"{what}: {text[:300]}")
    raise InputError(f"{what} cannot be had: {text[:300]}")
