"""The console command `spaceverse`: one module per subcommand."""
