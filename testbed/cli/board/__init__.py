"""`spaceverse board`: one module per group of subcommands."""
