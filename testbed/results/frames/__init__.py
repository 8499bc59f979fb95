"""What a run tells of single frames: how the satellite decided about each."""
