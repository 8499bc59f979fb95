"""The emulated network, and all that drives it. Knows nothing of models."""
