"""Dishes of ground stations: who gets one, and when."""
