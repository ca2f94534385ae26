"""Dimensions that no event has: how usage is kept apart for the sake of its price.

Owns their names, which begin with @ as no property does. They stand among the dimensions of totals
and are never shown to a user.
"""

from typing import Final

BUCKET = "@bucket"  # the start of the bucket in which a meter takes its maximum, minimum or last
DAY = "@day"  # the local day, where a price is capped a day
WHEN = "@when"  # which multipliers of the price hold: their indexes, "" for none
RATE = "@rate"  # the index of the rate that the event matched, or "otherwise"
FEE = "@fee"  # "1" where the quantity is the fees of single events, "" where it is their units
PRICE = "@price"  # the price of the same group that counted it
FREE = "free"  # in place of "1": what of the fees is free, below zero
OTHERWISE: Final = "otherwise"
