"""Profiles of machines, and answers at their pace."""
