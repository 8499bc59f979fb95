"""A board's agent: what runs on a Jetson or a Pi between runs, and starts its node during one.

assignment.py  the agent's configuration, and what a run asks of it
mailbox.py     its end of the management plane: registers, hears assignments and heartbeats
files.py       fetches images by checksum
child.py       the node as a process that cannot outlive the agent
facts.py       what the board says of itself
service.py     the agent's life; `python -m nodes.agent` runs it
"""
