"""Users' records in one file that the C++ library reads and writes too: memory in between, as with file:PATH.

    "DRSTATE4"
    8      uint64: users
    text   state_id
    text   the JSON object beside the records (see `Store.meta`)
    then of each user, text: the user's id; text: the record, in the bytes of `deployrec.runtime.records`
    4      uint32: CRC-32 of all before

Numbers are little-endian; a text is its length, uint32, and its bytes. C++ takes users whose ids are whole numbers.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from deployrec.errors import ConfigError, DataError, StaleStateError, StoreError
from deployrec.files import atomic_file, check_writable, check_writable_file, open_regular
from deployrec.runtime.events import id_text
from deployrec.runtime.records import Stamp, pack, unpack
from deployrec.runtime.stores.base import Layout
from deployrec.runtime.stores.file import blocks_of
from deployrec.runtime.stores.memory import MemoryStore

MAGIC = b"DRSTATE4"
LENGTH, USERS, CHECKSUM = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<I")


def load(layout: Layout, address: str) -> RecordFileStore:
    """Opens "records:PATH"; the file may not be there yet. Raises DataError for a broken one, StaleStateError for one
    of another bundle, ConfigError for a place where `close` could not write it."""
    path = Path(address)
    if not address or not path.parent.is_dir():
        raise ConfigError(f"expected records:PATH in a folder that is there; got '{address}'; name the file of records")
    check_writable_file(path, "records:PATH")
    check_writable(path.parent, "records:PATH")
    return RecordFileStore(layout, path)


class RecordFileStore(MemoryStore):
    """Memory that is read from a file of records when it is opened and written back by `save` and `close`.

    What came after the last of them is lost with the process. The file belongs to one process at a time.
    """

    def __init__(self, layout: Layout, path: Path) -> None:
        super().__init__(layout)
        self.path = path
        if path.exists():
            self._read()

    def save(self) -> None:
        """Writes the file whole or not at all; raises DataError if the disk refuses."""
        stamp = Stamp(time.time(), int.from_bytes(os.urandom(8), "little"))
        users = list(self.users())
        checksum = 0
        try:
            with atomic_file(self.path) as file:
                for piece in self._pieces(len(users), stamp):
                    checksum = zlib.crc32(piece, checksum)
                    file.write(piece)
                file.write(CHECKSUM.pack(checksum))
        except OSError as error:
            raise DataError(
                f"expected to write {self.path}; got {error.strerror}; free space or name another file"
            ) from None

    def close(self) -> None:
        self.save()

    def _pieces(self, number: int, stamp: Stamp) -> Iterator[bytes]:
        head = (self.layout.state_id, json.dumps(self.meta()))
        yield MAGIC + USERS.pack(number) + b"".join(_text(text.encode()) for text in head)
        for users, rows in blocks_of(self):
            values = pack(self.layout, rows, [0] * len(users), stamp, half=False)
            yield b"".join(_text(user.encode()) + _text(value) for user, value in zip(users, values, strict=True))

    def _read(self) -> None:
        with open_regular(self.path) as file:
            content = memoryview(file.readall())
        body = content[: -CHECKSUM.size]
        if bytes(content[: len(MAGIC)]) != MAGIC or CHECKSUM.pack(zlib.crc32(body)) != content[-CHECKSUM.size :]:
            raise self._broken(_other_format(content) or "another file or a damaged one")
        at = len(MAGIC) + USERS.size
        (number,) = USERS.unpack_from(body, len(MAGIC))
        texts = []
        while at < len(body):
            (length,) = LENGTH.unpack_from(body, at)
            texts.append(bytes(body[at + LENGTH.size : at + LENGTH.size + length]))
            at += LENGTH.size + length
        if len(texts) != 2 + 2 * number or at != len(body):
            raise self._broken(f"{len(texts)} texts for {number:,} users")
        state_id, users, values = texts[0].decode(), [text.decode() for text in texts[2::2]], texts[3::2]
        if state_id != self.layout.state_id:
            raise StaleStateError(
                f"expected states of id {self.layout.state_id[:12]} (see `deployrec info`); got {state_id[:12]}; "
                "load them with a bundle of that id"
            )
        if len(set(users)) != len(users) or any(id_text(user, "a user id") != user for user in users):
            raise self._broken("a user twice or without an id")
        try:
            rows = unpack(self.layout, users, values)
        except StoreError as error:
            raise self._broken(str(error)) from None
        rows.version[...] = 1  # of users who are new to this store
        if users:
            self.write(users, rows)
        self.set_meta(json.loads(texts[1]))

    def _broken(self, got: str) -> DataError:
        return DataError(f"expected users' records in {self.path}; got {got}; save the states again")


def _other_format(content: memoryview) -> str:
    """What is said of a file of another format than this one; empty of others."""
    begins = bytes(content[: len(MAGIC)])
    other = begins[:-1] == MAGIC[:-1] and begins != MAGIC
    return f"format {begins[-1:].decode('ascii', 'replace')}, of another deployrec" if other else ""


def _text(content: bytes) -> bytes:
    return LENGTH.pack(len(content)) + content
