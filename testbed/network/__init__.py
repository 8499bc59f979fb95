"""The emulated network: hosts, the sky between them, links, and the player that makes links follow traces."""
