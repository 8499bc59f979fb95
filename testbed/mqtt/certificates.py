"""TLS for the brokers of one run: an authority that lives as long as the run, a certificate per station.

openssl is called, and not a library: it is on every Debian, and a run needs three of its commands.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nodes.contract.files import OWNER_ONLY
from testbed.errors import CapabilityError, TestbedError

DAYS = "30"
NEW_KEY = (
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-days",
    DAYS,
)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, both PEM; the key is the owner's alone."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is at `certificate`.

    Args:
        folder: where everything goes; made if missing, the owner's alone.

    Raises:
        CapabilityError: openssl is missing.
        TestbedError: openssl refused.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
        self._own = self._make("ca", "authority of one run", usage)
        self.certificate = self._own.certificate

    def issue(self, name: str, addresses: Sequence[str]) -> Certificate:
        """A server's certificate, good for these IP addresses."""
        names = ",".join(f"IP:{address}" for address in addresses)
        return self._make(
            name,
            name,
            [
                *("-CA", str(self._own.certificate), "-CAkey", str(self._own.key)),
                *("-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"),
                *("-addext", "extendedKeyUsage=serverAuth"),
            ],
        )

    def _make(self, stem: str, common_name: str, options: Sequence[str]) -> Certificate:
        program = shutil.which("openssl")
        if program is None:
            raise CapabilityError("TLS needs the program openssl; run: apt-get install openssl")
        made = Certificate(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        made.key.touch(OWNER_ONLY)
        command = [program, *NEW_KEY, "-subj", f"/CN={common_name}", "-keyout", str(made.key)]
        done = subprocess.run(
            [*command, "-out", str(made.certificate), *options], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise TestbedError(f"openssl made no certificate for {common_name}: {last}")
        return made
