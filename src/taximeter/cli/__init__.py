"""The command line: parse, call a service or a running server over HTTP, print. No SQL, no rules."""
