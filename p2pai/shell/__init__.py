"""Where effects meet the world: trio, SQLite, files, clock, child processes."""
