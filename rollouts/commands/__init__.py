"""What the command line does, a module a command, each a function of a settings dataclass."""
