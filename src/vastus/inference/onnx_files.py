"""Name the files in which an ONNX model keeps its weights, without the library ``onnx``.

An ONNX file may keep tensors in other files ("external data"). The core of Vastus runs models and has no library that
reads them, so the few fields that can name such a file are followed here, by the field numbers of ``onnx.proto``
(onnx.ai, IR version 10). Everything else is skipped unread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vastus.errors import BundleError

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING, _ENTRY = range(9)
# Message -> field number -> the message in that field: every way from a model to a tensor.
_INSIDE: Final[dict[int, dict[int, int]]] = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _TENSOR: {13: _ENTRY},
}
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_files(model: Path) -> frozenset[str]:
    """List the ``location`` of every tensor of a model that lies in another file, as it is written there.

    Raises:
        BundleError: the file is no ONNX model.
    """
    try:
        return frozenset(_locations(memoryview(model.read_bytes()), _MODEL))
    except (IndexError, ValueError) as error:
        raise BundleError("The network's ONNX file can't be read.", path=model) from error


def _locations(message: memoryview, kind: int) -> Iterator[str]:
    if kind == _ENTRY:
        entry = {number: bytes(value).decode("utf-8") for number, value in _fields(message)}
        if entry.get(_KEY) == "location":
            yield entry.get(_VALUE, "")
        return
    inside = _INSIDE[kind]
    for number, value in _fields(message):
        if number in inside:
            yield from _locations(value, inside[number])


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Give number and content of the fields with a length; the others are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("a field is longer than its message")
            yield number, message[at : at + size]
            at += size
        elif wire == _VARINT:
            _, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("unknown wire type")
    if at != len(message):
        raise ValueError("a field is longer than its message")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
