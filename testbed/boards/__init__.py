"""Physical boards in place of emulated satellites: inventory, checks, attachment, deployment."""
