"""Everything the testbed raises on purpose.

TestbedError
├── InputError          the user asked for something that cannot be: exit code 2
│   ├── ScenarioError       a scenario file that does not hold
│   └── CapabilityError     this machine lacks what was asked for (root, netem, ...)
├── BrokerError          an MQTT broker did not start, or has ended (testbed/mqtt/broker.py)
└── LinkError           an emulated link could not be made, set, or read back
    └── ShaperDiedError     the process that plays the links has ended: links are down, the run stops
"""


class TestbedError(Exception):
    """Base of all errors below; its text is one clear line: what, where, what to do."""

    __test__ = False  # pytest: the name only looks like a test class
    exit_code = 1


class InputError(TestbedError):
    """What the user gave cannot be used."""

    exit_code = 2


class ScenarioError(InputError):
    """A scenario file is missing, misspelled, or asks for what does not exist."""


class CapabilityError(InputError):
    """This machine lacks a capability; the text names the one command that mends it."""


class LinkError(TestbedError):
    """A link could not be built or does not hold the state that was written to it."""


class ShaperDiedError(LinkError):
    """The process that plays the links has ended; every link it played is down."""
