#!/usr/bin/env python3
"""Puts a database together from sealed files, with `age` and `zstd` alone (docs/formats/sealed.md).

    apply-sealed.py IDENTITY DATABASE FILE...

FILEs are the objects of one chain, oldest first, as they lie in the bucket: a snapshot (0009/...) and what continues it, or only what
continues the state that DATABASE already has. Nothing of it checks that they belong together: names say so, and
`restore verify --identity` proves it.
"""

import struct
import subprocess
import sys


def frames(content):
    """The frames of a decrypted object, by its seek table: (metadata kind or None, bytes, offset)."""
    count, descriptor, magic = struct.unpack("<IBI", content[-9:])
    assert magic == 0x8F92EAB1 and descriptor == 0x80, "no seek table at the end"
    table = len(content) - 9 - 12 * count
    at = 0
    for index in range(count):
        stored, _, _ = struct.unpack_from("<III", content, table + 12 * index)
        magic = struct.unpack_from("<I", content, at)[0]
        kind = magic - 0x184D2A50 if 0x184D2A50 <= magic <= 0x184D2A5F else None
        yield kind, content[at + 8 : at + stored - 4] if kind is not None else b""
        at += stored


def apply(identity, database, name):
    with open(name, "rb") as file:
        sealed = file.read()
    if sealed.startswith(b"LTX1"):  # a claim: no pages
        return
    content = subprocess.run(["age", "-d", "-i", identity], input=sealed, stdout=subprocess.PIPE, check=True).stdout
    data = subprocess.run(["zstd", "-d", "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    at, page_size, pages = 0, 0, 0
    for kind, metadata in frames(content):
        if kind == 0:  # the header of the file, big-endian
            page_size, pages = struct.unpack_from(">II", metadata, 8)
        elif kind == 1:  # the pages of the block behind it: runs of first page and number of pages, little-endian
            for run in range(0, len(metadata), 8):
                first, count = struct.unpack_from("<II", metadata, run)
                database.seek((first - 1) * page_size)
                database.write(data[at : at + count * page_size])
                at += count * page_size
    assert at == len(data), name + ": more data than pages"
    database.truncate(pages * page_size)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    identity, path, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(path, "ab"):
        pass
    with open(path, "r+b") as database:
        for name in names:
            apply(identity, database, name)


main()
