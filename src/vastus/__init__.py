"""Vastus: every single thigh and hip muscle from a hip-to-knee CT."""

from __future__ import annotations

__version__ = "0.1.0"

from vastus.compiled import settle_cache_folder

settle_cache_folder()
