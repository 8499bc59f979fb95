"""What a run came to, in plain words."""
