"""The parts of a run in progress: each knows what it starts, what it looks after, and how it ends."""
