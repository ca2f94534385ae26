"""A subscription: which plan versions price a customer's usage, from when to when."""
