"""Replays a recorded link under programs of the user."""
