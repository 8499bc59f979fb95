"""Errors raised by the kernel layer: the top of the testbed's error tree.

They live here because this layer imports nothing else of the testbed. Import them from `testbed.errors`,
which draws the whole tree.
"""

from __future__ import annotations


class TestbedError(Exception):
    """Base class of the testbed's errors; its text is one clear line: what, where, what to do."""

    __test__ = False  # pytest: the name only looks like a test class
    exit_code = 1


class InputError(TestbedError):
    """The user's input cannot be used."""

    exit_code = 2


class CapabilityError(InputError):
    """This machine lacks a capability; the text names the one command that fixes it."""


class LinkError(TestbedError):
    """A link could not be built or does not hold the state that was written to it."""
