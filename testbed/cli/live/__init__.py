"""`spaceverse live`, and the options of `spaceverse run` about the live page."""
