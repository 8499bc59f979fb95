"""The board's accelerator and memory, found without loading torch."""

from __future__ import annotations

import subprocess
from pathlib import Path

WITHIN_S = 5.0
ROOT = Path("/")
_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


def accelerator(root: Path = ROOT) -> str | None:
    """Return the accelerator in words; None: none was found.

    Args:
        root: where /proc is found.
    """
    try:
        model = (root / "proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        model = ""
    if "Jetson" in model or "NVIDIA" in model:
        return f"GPU of {model}, which shares the board's memory"
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=WITHIN_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    cards = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line]
    return "; ".join(f"{name.strip()}, {size.strip()} MiB" for name, size in cards) or None


def memory_bytes(root: Path = ROOT) -> int | None:
    """Return the size of the machine's memory; None: the kernel does not say.

    Args:
        root: where /proc is found.
    """
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]
    return sizes[0] if sizes else None
