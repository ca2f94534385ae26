"""What the seller defines: meters, prices, plans and their versions. Immutable once published."""
