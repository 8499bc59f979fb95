"""Measures whether links of this machine do what they are told."""
