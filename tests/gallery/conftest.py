"""The gallery's instance: that of the scenarios."""

from tests.scenarios.conftest import anyio_backend, story

__all__ = ["anyio_backend", "story"]
