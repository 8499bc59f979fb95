"""Errors of the testbed, for its users.

TestbedError                exit code 1: a run started and something failed
├── InputError              exit code 2: the request cannot be fulfilled
│   ├── UsageError              the command line is wrong
│   ├── ScenarioError           a scenario file is invalid
│   ├── CapabilityError         this machine lacks a capability (root, netem, ...)
│   └── BoardRefusedError       a board cannot be attached safely (testbed/boards/attachment.py)
├── LinkError               an emulated link could not be built, set or read back
│   └── ShaperDiedError         the process that plays the links has ended; the run stops
├── BrokerError             an MQTT broker did not start, or has ended (testbed/mqtt/broker.py)
├── RecordError             a live path cannot be measured
├── SshError                a command on a board failed (testbed/boards/deploy/ssh.py)
└── UmlError                a User-Mode Linux guest failed (testbed/machine/uml.py)
    └── UmlTimeoutError         it did not finish in time

Each message is one line that names the fault, its place and the fix. The command line prints it and ends
with `exit_code`. `traces` and `nodes` have trees of their own, whose errors for users have one too.
Those that the kernel layer raises are defined in `testbed.kernel.errors`, which imports nothing of ours.
"""

from __future__ import annotations

from testbed.kernel.errors import CapabilityError, InputError, LinkError, TestbedError

__all__ = [
    "CapabilityError",
    "InputError",
    "LinkError",
    "RecordError",
    "ScenarioError",
    "ShaperDiedError",
    "TestbedError",
    "UsageError",
]


class UsageError(InputError):
    """A wrong command line."""


class ScenarioError(InputError):
    """A scenario that is missing, misspelled or refers to something that does not exist."""


class ShaperDiedError(LinkError):
    """The end of the process that plays the links; all its links are down."""


class RecordError(TestbedError):
    """A live path that cannot be measured: no answer, or too few."""
