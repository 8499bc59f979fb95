"""TLS certificates of one run, a certificate per broker.

The authority of the stations lasts as long as the run. That of the management broker of boards is kept on
this machine, because each board's agent has its certificate and knows runs by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from nodes.contract.files import write_atomically

if TYPE_CHECKING:
    import trustme

VALIDITY = timedelta(days=30)
COMMON_NAME_LENGTH = 64  # RFC 5280, ub-common-name
ORGANISATION = "SpaceVerse testbed"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, both PEM; only the owner can read the key."""

    certificate: Path
    key: Path


def new_authority(what: str) -> trustme.CA:
    """Return a new authority, whose private key is in memory only.

    Args:
        what: What it vouches for, in words.
    """
    import trustme  # cryptography takes a quarter of a second, and most runs have no TLS

    return trustme.CA(organization_name=ORGANISATION, organization_unit_name=what, path_length=0)


def authority_pem(authority: trustme.CA) -> bytes:
    """Return an authority's private key and certificate, PEM: a secret."""
    return authority.private_key_pem.bytes() + authority.cert_pem.bytes()


def read_authority(pem: bytes) -> trustme.CA:
    """Return the authority of `authority_pem`. Raises ValueError for any other text."""
    import trustme

    return trustme.CA.from_pem(pem, pem)


class Authority:
    """An authority that issues certificates into a folder, where its own private key never goes.

    Args:
        folder: Where certificates and keys go; created if missing, accessible to its owner only.
        authority: The authority; None creates one for this run.

    Attributes:
        certificate: The authority's certificate, `ca.pem`.
    """

    def __init__(self, folder: Path, authority: trustme.CA | None = None) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._authority = authority or new_authority("authority of one run")
        self.certificate = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.certificate)

    def issue(self, name: str, addresses: Sequence[str]) -> Certificate:
        """Issue the certificate of a server.

        It is valid from long before now: the clock of a board may be behind.

        Args:
            name: Stem of its files, and its common name.
            addresses: IP addresses (or host names) that the certificate is valid for.

        Returns:
            The paths of the certificate and its key.
        """
        issued = self._authority.issue_cert(
            *addresses,
            common_name=name[:COMMON_NAME_LENGTH],
            organization_name=ORGANISATION,
            organization_unit_name="broker",
            not_after=datetime.now(timezone.utc) + VALIDITY,
        )
        files = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(files.certificate)
        write_atomically(files.key, issued.private_key_pem.bytes(), private=True)
        return files
