"""Fixtures of the trainer's room."""

from tests.fakehub import fake_hub

__all__ = ["fake_hub"]
