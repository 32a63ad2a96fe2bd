"""What the fuzz stands share: choices read from the bytes of the fuzzer, and the loop that runs a target."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import atheris

T = TypeVar("T")
Target = Callable[[bytes], None]


class Choices:
    """Choices made by bytes, one a choice; where they end, the first of each kind."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def byte(self) -> int:
        """Take the next byte, 0 at the end."""
        self._place += 1
        return self._data[self._place - 1] if self._place <= len(self._data) else 0

    def below(self, end: int) -> int:
        """Give a number from 0 to ``end - 1``, at most 65,536 of them."""
        return (self.byte() if end <= 256 else self.byte() * 256 + self.byte()) % end

    def of(self, options: Sequence[T]) -> T:
        """Give one of the options."""
        return options[self.below(len(options))]

    def yes(self) -> bool:
        """Give yes or no; no at the end."""
        return bool(self.byte() & 1)

    def rest(self) -> bytes:
        """Take all that is left."""
        left = self._data[self._place :]
        self._place = len(self._data)
        return left


def fuzz(make_target: Callable[[Path], Target], seeds: Callable[[], Mapping[str, bytes]]) -> None:
    """Fuzz until stopped, as libFuzzer's options say; the first argument without a dash is the corpus."""
    warnings.simplefilter("ignore")
    corpus = next((Path(a) for a in sys.argv[1:] if not a.startswith("-")), None)
    if corpus is not None and not any(corpus.glob("*")):
        corpus.mkdir(parents=True, exist_ok=True)
        for name, data in seeds().items():
            (corpus / name).write_bytes(data)
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup(sys.argv, make_target(Path(folder)))
        atheris.Fuzz()
