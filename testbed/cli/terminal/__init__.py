"""Output of the command line: console, messages and log."""
