"""The live page of a run, and its replay from a finished run's folder."""
