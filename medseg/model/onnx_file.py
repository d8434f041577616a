"""What is looked at in an ONNX file before a runtime reads it.

An ONNX file is a message in the wire format of Protocol Buffers (protobuf.dev, "Encoding"); the
numbers of the fields are those of `onnx.proto3`. It may keep its weights in other files, named by a
path or even an address in memory: the digest of a card would not hold for these.
"""

from collections.abc import Iterator, Mapping

GRAPH_OF_MODEL = 7

INNER: Mapping[str, Mapping[int, str]] = {
    "model": {GRAPH_OF_MODEL: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Kind of message to the fields of it that lead to tensors, and what they are."""

ELSEWHERE = (13, 14)
"""Fields of a tensor that say that its values are somewhere else: where, and whether."""

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""Wire types."""

LOWEST_TAG, HIGHEST_TAG = 1 << 3, 2**32 - 1
"""Of field 1, and of 32 bits."""


class NotOnnxError(ValueError):
    """The bytes are not an ONNX model."""


def keeps_weights_elsewhere(content: bytes) -> bool:
    """Whether a tensor of the model is not in its file.

    Raises:
        NotOnnxError: The bytes are not an ONNX model.
    """
    fields = list(_fields(memoryview(content)))
    if not any(n == GRAPH_OF_MODEL and isinstance(value, memoryview) for n, value in fields):
        raise NotOnnxError("no graph")
    left = [("model", memoryview(content))]
    while left:
        kind, message = left.pop()
        for number, value in _fields(message):
            if kind == "tensor":
                if number in ELSEWHERE and value != 0:
                    return True
            elif number in INNER[kind] and isinstance(value, memoryview):
                left.append((INNER[kind][number], value))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field; of numbers of fixed length none is asked for."""
    at = 0
    while at < len(message):
        tag, at = _tag(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif wire == LENGTH:
            length, at = _varint(message, at)
            if length > len(message) - at:
                raise NotOnnxError("cut off")
            yield number, message[at : at + length]
            at += length
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            at += 8 if wire == EIGHT_BYTES else 4
        else:
            raise NotOnnxError(f"wire type {wire}")


def _tag(message: memoryview, at: int) -> tuple[int, int]:
    """Number and wire type of a field in one, and where they end.

    They have 32 bits. Where more are given, or in more bytes than it takes, another reader may see
    another field: that of OpenVINO drops the bits above.
    """
    tag, end = _varint(message, at)
    if not LOWEST_TAG <= tag <= HIGHEST_TAG or end - at != -(-tag.bit_length() // 7):
        raise NotOnnxError(f"tag {tag} in {end - at} bytes")
    return tag, end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of up to ten bytes of seven bits, lowest first, and where it ends."""
    value = 0
    for n, byte in enumerate(message[at : at + 10]):
        value |= (byte & 127) << 7 * n
        if byte < 128:
            return value, at + n + 1
    raise NotOnnxError("cut off")
