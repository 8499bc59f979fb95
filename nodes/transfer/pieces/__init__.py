"""Chunks that several items of one picture share, such as the messages of its prompts: sent once."""
