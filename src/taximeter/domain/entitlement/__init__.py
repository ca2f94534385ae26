"""Entitlement: what a customer may use, and how much: budgets, features, suspensions."""
