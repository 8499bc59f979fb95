"""Messages between a node and the process of its model: msgpack, preceded by their length.

A connection carries one request at a time, each followed by its reply: `{"value": ...}`, or `{"error": ...}`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np

from nodes.errors import ImageError, ModelError, PartError, PayloadError
from nodes.failures import named, where_of

if TYPE_CHECKING:
    from PIL.Image import Image

_LENGTH_BYTES = 8
MESSAGE_MAX_BYTES = 2 << 30  # pixels of a frame; attention of a large model
_ARRAY, _PIXELS = 1, 2  # extension types
_RAISED_ALIKE = {kind.__name__: kind for kind in (ImageError, ModelError, PayloadError, ValueError)}


def packed(message: Any) -> bytes:
    """Return a message as bytes."""
    data: bytes = msgpack.packb(message, default=_extension)
    return data


def unpacked(data: bytes | bytearray) -> Any:
    """Return the message of bytes. Raises ValueError if they are none."""
    try:
        return msgpack.unpackb(data, ext_hook=_object)
    except (msgpack.UnpackException, TypeError, KeyError, IndexError) as error:
        raise ValueError(str(error)) from error


def send(connection: socket.socket, message: Any) -> None:
    """Send one message. Raises OSError."""
    data = packed(message)
    connection.sendall(len(data).to_bytes(_LENGTH_BYTES, "big"))
    connection.sendall(data)


def receive(connection: socket.socket) -> Any:
    """Return the next message.

    Raises:
        EOFError: The peer has closed the connection.
        OSError: The connection failed, or the message is not one of these.
    """
    size_bytes = int.from_bytes(_exactly(connection, _LENGTH_BYTES), "big")
    if size_bytes > MESSAGE_MAX_BYTES:
        raise OSError(f"a message of {size_bytes} bytes")
    try:
        return unpacked(_exactly(connection, size_bytes))
    except ValueError as error:
        raise OSError(f"not a message: {error}") from error


def error_reply(error: Exception) -> dict[str, Any]:
    """Return the reply that makes `raise_error` raise the same error, or one that names it."""
    kind = next((name for name, kind in _RAISED_ALIKE.items() if type(error) is kind), None)
    return {"error": {"kind": kind, "text": str(error) if kind else named(error), "where": where_of(error)}}


def raise_error(error: dict[str, Any]) -> None:
    """Raise the error of a reply: of its own class if that is one of this package, else a PartError."""
    if error["kind"] is not None:
        raise _RAISED_ALIKE[error["kind"]](error["text"])
    raise PartError("model", error["text"], error["where"])


def _exactly(connection: socket.socket, size_bytes: int) -> bytearray:
    data = bytearray(size_bytes)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            raise EOFError("the connection was closed")
        view = view[count:]
    return data


def _extension(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        header = msgpack.packb([value.dtype.str, list(value.shape)])
        return msgpack.ExtType(_ARRAY, header + np.ascontiguousarray(value).tobytes())
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "tobytes") and hasattr(value, "mode"):  # an image of Pillow
        header = msgpack.packb([value.mode, list(value.size)])
        return msgpack.ExtType(_PIXELS, header + value.tobytes())
    raise TypeError(f"cannot be sent: {type(value).__name__}")


def _object(code: int, data: bytes) -> Any:
    unpacker = msgpack.Unpacker()
    unpacker.feed(data[:64])
    kind, shape = unpacker.unpack()
    content = memoryview(data)[unpacker.tell() :]
    if code == _ARRAY:
        return np.frombuffer(content, dtype=np.dtype(kind)).reshape(shape)
    from PIL import Image as Images  # only with images

    return Images.frombytes(kind, tuple(shape), content)


def rgb(images: Sequence[Image]) -> list[Image]:
    """Return images as models see them; other modes, such as palettes, are not sent."""
    return [image if image.mode == "RGB" else image.convert("RGB") for image in images]
