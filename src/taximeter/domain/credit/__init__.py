"""Credit: wallets, grants and the order in which they burn."""
