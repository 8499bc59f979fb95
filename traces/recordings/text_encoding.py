"""The encoding of text files, as their byte order mark tells: UTF-8, or UTF-16 as PowerShell writes it."""

from __future__ import annotations

import codecs

_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def as_utf8(data: bytes) -> bytes:
    """Return text in UTF-8 without a byte order mark; text without one is returned as it is."""
    if data.startswith(codecs.BOM_UTF8):
        return data[len(codecs.BOM_UTF8) :]
    encoding = _UTF_16.get(data[:2])
    return data if encoding is None else data[2:].decode(encoding, "replace").encode()
