"""What a ground station grants each satellite, so that one that floods it does not slow the others."""
