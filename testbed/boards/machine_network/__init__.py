"""This machine's own network: its state, changes to it, and the journal by which they are undone."""
