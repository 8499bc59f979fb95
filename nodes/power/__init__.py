"""Power and heat of a satellite in scenario time: battery, temperature, and what they permit."""
