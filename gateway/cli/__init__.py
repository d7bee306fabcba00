"""The command line: one file a command group; the only reader of arguments and environment."""
