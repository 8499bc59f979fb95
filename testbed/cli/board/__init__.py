"""`spaceverse board ...`: one module per subcommand."""
