"""The keys of what is kept of users in an LMDB environment."""

from __future__ import annotations

import struct

from deployrec.errors import DataError

MAX_ID = 480
"""Bytes of a user id: LMDB's keys end at 511."""
LENGTH = struct.Struct(">H")
RECORD, HISTORY, JOURNAL = b"r", b"h", b"j"
"""Behind a user's key: a record, with its layout's number; a chunk of the history, with the number of events before it;
the journal behind the chunks. All of one user lies in neighbouring pages, so that a write touches few."""


def user_key(user: str) -> bytes:
    """A key that begins no other user's: the id's length, the id."""
    text = user.encode()
    if len(text) > MAX_ID:
        raise DataError(
            f"expected user ids of at most {MAX_ID} bytes in an LMDB store; got one of {len(text):,}; "
            "shorten it, or take a store in Redis"
        )
    return LENGTH.pack(len(text)) + text


def user_end(key: bytes) -> int:
    """Where what stands behind the user begins."""
    end: int = LENGTH.unpack_from(key)[0] + LENGTH.size
    return end


def user_of(key: bytes) -> str:
    return key[LENGTH.size : user_end(key)].decode()
