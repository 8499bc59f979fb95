"""Contact traces: made from orbits, read from files, written, drawn.

Start at `traces.trace` (the data and its file) or `traces.make` (a trace from a TLE and a station).
Importing `traces.trace` needs NumPy only.
"""
