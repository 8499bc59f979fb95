"""Scenario time of a run: jumps over idle time, and a speed that follows what the machine can do."""
