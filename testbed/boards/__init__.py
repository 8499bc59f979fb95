"""Physical boards in the place of emulated nodes: inventory, attachment, and undoing it all."""
