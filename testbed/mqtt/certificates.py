"""TLS certificates of one run: an authority that lasts as long as the run, a certificate per station."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from nodes.contract.files import write_atomically

VALIDITY = timedelta(days=30)
COMMON_NAME_LENGTH = 64  # RFC 5280, ub-common-name
ORGANISATION = "SpaceVerse testbed"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, both PEM; only the owner can read the key."""

    certificate: Path
    key: Path


class Authority:
    """An authority of one run; it keeps its own private key in memory only.

    Args:
        folder: Where certificates and keys go; created if missing, accessible to its owner only.

    Attributes:
        certificate: The authority's certificate, `ca.pem`.
    """

    def __init__(self, folder: Path) -> None:
        import trustme  # cryptography takes a quarter of a second, and most runs have no TLS

        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._authority = trustme.CA(
            organization_name=ORGANISATION, organization_unit_name="authority of one run", path_length=0
        )
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
            organization_unit_name="ground station",
            not_after=datetime.now(timezone.utc) + VALIDITY,
        )
        files = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(files.certificate)
        write_atomically(files.key, issued.private_key_pem.bytes(), private=True)
        return files
