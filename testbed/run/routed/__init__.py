"""Runs with mission control: its links on the ground, the routes to it, and the hosts that follow them."""
