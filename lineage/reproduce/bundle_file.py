"""A bundle as a file: written in one way only, so that reading can demand each byte.

It is a tar archive of plain files. The reader never asks a header what comes: it makes the header that must be there, and compares.
What the tar format can say besides (links, devices, other names, other sizes) has no way in, and no more is read than the table of
contents says.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from lineage.errors import IntegrityError, InvalidSource, NotFound
from lineage.model.bundle import CONTENTS, Contents, Member, read_contents
from lineage.ports import Progress, no_progress

_BLOCK_BYTES = 1 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)


def header_of(name: str, size: int) -> bytes:
    """The 512 bytes before a member's content."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def write_member(target: IO[bytes], member: Member, source: IO[bytes]) -> None:
    """Append a member.

    Raises:
        IntegrityError: The source is not what the table of contents says.
    """
    target.write(header_of(member.name, member.size))
    state, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK_BYTES):
        state.update(block)
        size += len(block)
        target.write(block)
    if (size, state.hexdigest()) != (member.size, member.sha256):
        raise IntegrityError(
            member.name, expected=f"{member.size} bytes, {member.sha256}", found=f"{size} bytes, {state.hexdigest()}", hint="it was changed"
        )
    target.write(bytes(-size % tarfile.BLOCKSIZE))


def write_bundle_file(
    target: IO[bytes], contents: Contents, open_member: Callable[[Member], IO[bytes]], progress: Progress = no_progress
) -> None:
    """Write a bundle.

    Raises:
        IntegrityError: A part is not what the table of contents says.
    """
    text = contents.encoded()
    write_member(target, Member(name=CONTENTS, sha256=hashlib.sha256(text).hexdigest(), size=len(text)), io.BytesIO(text))
    for number, member in enumerate(contents.members, 1):
        with open_member(member) as source:
            write_member(target, member, source)
        progress("bundling", number, len(contents.members))
    target.write(_END)


class BundleFile:
    """A bundle that is open. Its objects are read in place: it serves as an object store that cannot be written.

    Opening looks at every header and length, not yet at the content of parts.

    Args:
        path: The file.

    Raises:
        NotFound: There is no such file.
        InvalidSource: It is no bundle, or one of a newer release.
        IntegrityError: It is cut short, goes on behind its end, or a header is not the one that must be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stream = path.open("rb")
        except FileNotFoundError:
            raise NotFound("file", str(path), hint="`lineage bundle RUN FILE` makes one") from None
        except OSError as error:
            raise InvalidSource(f"{path} cannot be read: {error.strerror}", hint="give a file that `lineage bundle` made") from error
        try:
            self._size = os.fstat(self._stream.fileno()).st_size
            self.contents = self._read_contents()
            self._places = self._locate()
        except BaseException:
            self._stream.close()
            raise
        self.objects = self.contents.named("objects")

    def __enter__(self) -> BundleFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def _read_contents(self) -> Contents:
        header = self._stream.read(tarfile.BLOCKSIZE)
        try:
            found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise InvalidSource(f"{self.path} is no bundle", hint="give a file that `lineage bundle` made") from None
        if found.size < 0 or header != header_of(CONTENTS, found.size):
            raise InvalidSource(
                f"{self.path} is no bundle: its first member must be the file '{CONTENTS}', found {_describe(header)}",
                hint="give a file that `lineage bundle` made",
            )
        if found.size > self._size - self._stream.tell():
            raise self._cut_short(tarfile.BLOCKSIZE + found.size)
        text = self._stream.read(found.size)
        contents = read_contents(text, self.path.name)
        self._check_padding(CONTENTS, found.size)
        return contents

    def _locate(self) -> dict[str, int]:
        places: dict[str, int] = {}
        at = self._stream.tell()
        wanted = at + sum(tarfile.BLOCKSIZE + _padded(member.size) for member in self.contents.members) + len(_END)
        if self._size < wanted:
            raise self._cut_short(wanted)
        if self._size > wanted:
            raise IntegrityError(f"bundle {self.path.name}", expected=f"its end after {wanted} bytes", found=f"{self._size} bytes")
        for member in self.contents.members:
            self._stream.seek(at)
            header = self._stream.read(tarfile.BLOCKSIZE)
            if header != header_of(member.name, member.size):
                raise IntegrityError(
                    f"bundle {self.path.name}, byte {at}",
                    expected=f"the file '{member.name}' of {member.size} bytes",
                    found=_describe(header),
                )
            places[member.name] = at + tarfile.BLOCKSIZE
            at += tarfile.BLOCKSIZE + _padded(member.size)
        self._stream.seek(at)
        if self._stream.read() != _END:
            raise IntegrityError(f"bundle {self.path.name}, byte {at}", expected="its end", found="other bytes")
        return places

    def _cut_short(self, wanted: int) -> IntegrityError:
        return IntegrityError(
            f"bundle {self.path.name}",
            expected=f"at least {wanted} bytes",
            found=f"{self._size} bytes",
            hint="it was cut short; copy it again",
        )

    def _check_padding(self, name: str, size: int) -> None:
        if any(self._stream.read(-size % tarfile.BLOCKSIZE)):
            raise IntegrityError(f"bundle {self.path.name}, behind '{name}'", expected="zeros", found="other bytes")

    def check(self, progress: Progress = no_progress) -> None:
        """Read everything and compare it with the table of contents.

        Raises:
            IntegrityError: A part is not what it should be; it is named.
        """
        for number, member in enumerate(self.contents.members, 1):
            for _ in self._blocks(member):
                pass
            self._check_padding(member.name, member.size)
            progress("checking the bundle", number, len(self.contents.members))

    def _blocks(self, member: Member) -> Iterator[bytes]:
        self._stream.seek(self._places[member.name])
        state, left = hashlib.sha256(), member.size
        while left and (block := self._stream.read(min(_BLOCK_BYTES, left))):
            state.update(block)
            left -= len(block)
            yield block
        if left or state.hexdigest() != member.sha256:
            raise IntegrityError(f"bundle {self.path.name}, '{member.name}'", expected=member.sha256, found=state.hexdigest())

    def read(self, member: Member) -> bytes:
        """A part's content, checked.

        Raises:
            IntegrityError: It is not what the table of contents says.
        """
        return b"".join(self._blocks(member))

    def stream_at(self, member: Member) -> IO[bytes]:
        """The file, at the beginning of a part's content; not checked."""
        self._stream.seek(self._places[member.name])
        return self._stream

    def get_bytes(self, digest: str) -> bytes:
        """An object; see :class:`lineage.ports.ObjectStore`."""
        member = self.objects.get(digest.partition(":")[2])
        if member is None:
            raise NotFound("object", digest, detail=f"the bundle {self.path.name} does not hold it")
        return self.read(member)

    def has(self, digest: str) -> bool:
        """Whether it holds an object."""
        return digest.partition(":")[2] in self.objects


def _padded(size: int) -> int:
    return size + -size % tarfile.BLOCKSIZE


def _describe(header: bytes) -> str:
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return "no member"
    name = ascii(found.name)
    if found.issym():
        return f"the symbolic link {name} to {found.linkname!a}"
    if found.islnk():
        return f"the hard link {name} to {found.linkname!a}"
    if found.isdir():
        return f"the folder {name}"
    if not found.isreg():
        return f"the device or special file {name}"
    return f"the file {name} of {found.size} bytes"
