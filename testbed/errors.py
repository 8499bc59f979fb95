"""Errors that the testbed raises on purpose.

TestbedError
├── InputError          the input cannot be used: exit code 2
│   ├── ScenarioError       an invalid scenario file
│   └── CapabilityError     this machine lacks something that was requested (root, netem, ...)
├── BrokerError         an MQTT broker did not start, or has ended (testbed/mqtt/broker.py)
└── LinkError           an emulated link could not be made, set, or read back
    └── ShaperDiedError     the process that plays the links has ended: links are down, the run stops

The first of each branch is defined in `testbed.kernel.errors`, since the kernel layer raises them.
"""

from __future__ import annotations

from testbed.kernel.errors import CapabilityError, InputError, LinkError, TestbedError

__all__ = ["CapabilityError", "InputError", "LinkError", "ScenarioError", "ShaperDiedError", "TestbedError"]


class ScenarioError(InputError):
    """A scenario file is missing, misspelled, or refers to something that does not exist."""


class ShaperDiedError(LinkError):
    """The process that plays the links has ended; every link it played is down."""
