"""Orbits: element sets, constellations, passes over stations, and lines of sight between satellites."""
