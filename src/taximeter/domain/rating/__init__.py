"""Rating: a price and a quantity give an amount, with the steps that explain it."""
