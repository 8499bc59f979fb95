"""From a scenario to a finished run."""
