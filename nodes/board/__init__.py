"""Agent of a board (Jetson or Raspberry Pi): waits for runs, and starts the board's node in each.

assignment.py  configuration of the agent, and the assignment from a run
mailbox.py     connection to the management plane: assignments, heartbeats, pieces of files
files.py       files of a run, fetched by checksum
child.py       the node's process, which ends with the agent
facts.py       software, models and free space of the board
service.py     the agent's main loop; `python -m nodes.agent` runs it
"""
