"""Use cases, one module per verb or noun. They open transactions (only through command.py and
committer.py), ask the domain to decide, and let storage write.
"""
