"""Packages that exports need and that the testbed does without."""

from __future__ import annotations

from importlib.util import find_spec

from testbed.errors import CapabilityError


def check_package(name: str, what: str) -> None:
    """Check that a package of the extra `export` is installed.

    Args:
        name: name of the module.
        what: what needs it.

    Raises:
        CapabilityError: it is not installed.
    """
    if find_spec(name) is None:
        raise CapabilityError(
            f"{what} needs the package {name}; run: pip install 'spaceverse-testbed[export]'"
        )
