"""Shapers: what makes a link slow, lossy or down."""
