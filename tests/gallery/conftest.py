"""The gallery's instance: that of the scenarios."""

from tests.scenarios.conftest import anyio_backend, instance, story

__all__ = ["anyio_backend", "instance", "story"]
