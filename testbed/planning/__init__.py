"""What a scenario's links carry and what its satellites offer them, before it runs."""
