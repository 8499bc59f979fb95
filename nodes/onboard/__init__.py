"""What a satellite does with one frame: stages, confidence, and the message that goes down."""
