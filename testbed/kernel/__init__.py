"""The only code that talks to Linux about networks; it imports nothing of the project."""
