"""Taximeter: usage-based billing for AI products. The fare, as it runs."""

__version__ = "0.1.0"
