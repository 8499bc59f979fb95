"""Two clocks, and what may be said of how far they are apart."""
