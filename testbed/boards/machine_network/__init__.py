"""Changes to this machine's own network: facts, changes, and the journal that undoes them."""
