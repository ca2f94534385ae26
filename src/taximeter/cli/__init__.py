"""The command line: parse, call a service or a running server, print. No SQL, no rules."""
