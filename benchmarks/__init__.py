"""Every performance claim, as a command that prints a ratio against something run beside it."""
