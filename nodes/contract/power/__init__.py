"""Power and heat of a satellite as scenarios and configurations describe them."""
