"""The seller's pages: parse, call a service, render. No SQL, no rules.

Owns what a person sees and how they sign in. Everything is rendered on the server; the browser is
given text, never numbers to compute with.
"""
