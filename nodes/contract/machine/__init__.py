"""What a run and a board look for on their own machines."""
