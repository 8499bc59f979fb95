"""Parts of training that concern the vision tower."""
