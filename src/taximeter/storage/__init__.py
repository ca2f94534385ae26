"""Storage: SQL, and the mapping between rows and dataclasses.

Owns the schema, its migrations and every statement. Must not decide anything: what is read is
handed to the domain, and what the domain decided is written.
"""
