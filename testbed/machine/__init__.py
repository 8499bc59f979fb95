"""This computer: its capabilities, its load, the identity of its processes, and requests to stop."""
