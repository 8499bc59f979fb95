"""The agent of a board: waits on a Jetson or a Pi for runs, and starts the board's node in each.

assignment.py  configuration of the agent, and the assignment that a run gives it
mailbox.py     connection to the management plane: assignments, heartbeats, pieces of files
files.py       files of a run, fetched by checksum
child.py       the node's process, which cannot outlive the agent
facts.py       software, models and free space of the board
service.py     the agent's main loop; `python -m nodes.agent` runs it
"""
