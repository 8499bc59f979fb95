"""Shapes links with the kernel's netem."""
