"""The version of Vastus: a leaf, so that every room can say it without loading the front door."""

__version__ = "0.1.0"
