"""Invoicing: lines, totals and the states of an invoice."""
