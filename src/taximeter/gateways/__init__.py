"""The outside world: each gateway is one way out of the process.

Owns talking to programs and services that are not ours. Must not decide anything about money, and
must not be called while a database transaction is open.
"""
