"""`spaceverse trace ...`: one module per subcommand."""
