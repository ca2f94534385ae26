"""The worker edge: wakes what falls due. No rules."""
