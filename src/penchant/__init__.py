"""Penchant: a personalization engine that a small team owns and runs."""

__version__ = "0.1.0"
__all__ = ["__version__"]
