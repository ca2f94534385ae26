"""Metering: what an event is, when two are the same, and how events become quantities."""
