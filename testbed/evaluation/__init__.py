"""Evaluates policies over real passes, in an event model and over the emulated network."""
