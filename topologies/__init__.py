"""Scenario scripts; each runs by itself: `sudo python topologies/dove_pass.py`."""
