"""Offline research: benchmark data, training and evaluation. Not part of a board's wheel."""
