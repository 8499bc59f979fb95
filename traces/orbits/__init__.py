"""Orbits: element sets and constellations in, passes over stations and between satellites out."""
