"""Example scenarios; each file can be run as a script: `sudo python topologies/dove_pass.py`."""
