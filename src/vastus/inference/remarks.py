"""What is said of a scan as a whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence for the user.

    Attributes:
        text: what was seen, what it may mean, and what to do.
        stops: no number of the scan can be right if it holds; it stands in red on top of the page.
    """

    text: str
    stops: bool = False
