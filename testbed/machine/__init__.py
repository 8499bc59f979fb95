"""This computer: what it can do, how busy it is, and how its processes are told to stop."""
