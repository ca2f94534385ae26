"""Values every layer shares: money, quantity, times, ids, errors, paging.

Owns no state and does no I/O; imports the standard library only.
"""
