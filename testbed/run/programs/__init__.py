"""The user's own programs on the nodes of a run, and what they can ask."""
