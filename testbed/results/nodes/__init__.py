"""What nodes and boards themselves were in a run: their clocks, pace and hardware."""
