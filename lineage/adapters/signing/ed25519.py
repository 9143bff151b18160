"""Keys as PEM files in a folder of the user's: ``NAME.key`` (private, PKCS 8) and ``NAME.pub`` (public, of whoever is trusted).

``ssh-keygen``, ``openssl`` and ``cosign`` read the same files. A private key may be encrypted with a passphrase; its file then also has
the public half, which is no secret, so that its own signatures are known without the passphrase.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lineage.errors import CaptureError, Conflict, InvalidSource, MissingExtra, NotFound, UsageError
from lineage.model.signing import SignedBy, key_id
from lineage.ports.keys import PASSPHRASE_VARIABLE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LARGEST_FILE_BYTES = 1 << 16  # a key takes about a hundred bytes; whatever else is named by mistake is not read whole
_BEGIN_PUBLIC = b"-----BEGIN PUBLIC KEY-----"
OFF = "off"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that this account knows.

    Attributes:
        name: What it is called here.
        id: Digest of the public key.
        is_own: Whether the private half is here.
        is_encrypted: Whether the private half needs a passphrase.
        file: Where.
        problem: Why it cannot be used.
    """

    name: str
    id: str | None
    is_own: bool
    file: Path
    problem: str | None = None
    is_encrypted: bool = False


class FolderKeyring:
    """Keys in one folder.

    Args:
        folder: Where; made with the first key.
        signing: Name of the key that signs by itself, where it exists; ``off`` for none.
    """

    def __init__(self, folder: Path, signing: str = "default") -> None:
        self._folder = folder
        self._signing = signing
        self._names: dict[bytes, str] | None = None

    def automatic(self) -> str | None:
        """The key that signs every run; see :class:`lineage.ports.Keyring`."""
        # Asked at the end of every run: it must not load anything.
        return self._signing if self._signing != OFF and self._own(self._signing).exists() else None

    def sign(self, message: bytes, name: str) -> SignedBy:
        """Sign with a key of this account."""
        key = self._private(self._own(_checked(name)))
        return SignedBy(_raw(key.public_key()), key.sign(message))

    def is_valid(self, message: bytes, made: SignedBy) -> bool:
        """Whether the signature fits key and message."""
        _need()
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(made.public_key).verify(made.signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def name_of(self, public_key: bytes) -> str | None:
        """What the key is called here; nothing is, while the package that reads keys is missing."""
        if self._names is None:
            try:
                known = [(key.id, key.name) for key in self.all() if key.id is not None]
            except MissingExtra:
                return None
            self._names = {bytes.fromhex(identity.partition(":")[2]): name for identity, name in reversed(known)}
        return self._names.get(bytes.fromhex(key_id(public_key).partition(":")[2]))

    def all(self) -> list[Key]:
        """Every key: own ones first, then trusted ones, by name. One that cannot be read is among them, with the reason."""
        found = []
        for file in [*sorted(self._folder.glob("*.key")), *sorted(self._folder.glob("*.pub"))]:
            is_own = file.suffix == ".key"
            try:
                public = self._public(file) if is_own else _read_public(file)
            except (CaptureError, InvalidSource) as error:
                found.append(Key(file.stem, None, is_own, file, error.message))
            else:
                found.append(Key(file.stem, key_id(_raw(public)), is_own, file, is_encrypted=is_own and is_encrypted(file)))
        return found

    def new(self, name: str, passphrase: str | None = None) -> Key:
        """Make a key of this account's.

        Args:
            name: What to call it.
            passphrase: The private half is encrypted with it, as PKCS 8 has it; ``None``: it is not encrypted.

        Raises:
            Conflict: There is one of that name.
            UsageError: The passphrase is empty.
        """
        _need()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

        if passphrase == "":
            raise UsageError("the passphrase is empty", hint="give one, or make the key without --passphrase")
        file = self._own(_checked(name))
        key = Ed25519PrivateKey.generate()
        secret = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)
        self._write(file, content if passphrase is None else content + _pem(key.public_key()), 0o600)
        return Key(name, key_id(_raw(key.public_key())), True, file, is_encrypted=passphrase is not None)

    def is_encrypted(self, name: str) -> bool:
        """Whether a key of this account's needs a passphrase; ``False`` where there is no such key."""
        file = self._own(_checked(name))
        return file.is_file() and is_encrypted(file)

    def forget(self, name: str) -> list[Key]:
        """Trust somebody's key no more; nothing else that is signed with it is touched.

        Args:
            name: What the key is called here, or its id or the beginning of that: at least 8 digits.

        Raises:
            NotFound: No such key is trusted.
            UsageError: It is this account's own, or several keys' ids begin so.
        """
        keys = self.all()
        plain = name.partition(":")[2] or name
        begins = re.fullmatch(r"[0-9a-f]{8,64}", plain) is not None
        named = [key for key in keys if key.name == name]
        found = named or [key for key in keys if begins and key.id is not None and key.id.partition(":")[2].startswith(plain)]
        if not found:
            raise NotFound("trusted key", name, hint="`lineage keys list` tells which there are")
        trusted = [key for key in found if not key.is_own]
        if not trusted:
            raise UsageError(
                f"'{found[0].name}' is a key of this account, not one that it trusts",
                hint=f"what it signed stays signed; deleting {found[0].file} ends that it signs",
            )
        if len({key.id for key in trusted}) > 1:
            raise UsageError(f"several keys are meant by '{name}'", hint="give its name, or more of its id")
        for key in trusted:
            key.file.unlink()
        self._names = None
        return trusted

    def trust(self, source: Path, name: str) -> Key:
        """Trust a public key from a PEM file.

        Raises:
            NotFound: There is no such file.
            InvalidSource: It holds no Ed25519 public key.
            Conflict: Another key has this name.
        """
        public = _read_public(source)
        file = self._folder / f"{_checked(name)}.pub"
        if file.exists() and _raw(_read_public(file)) == _raw(public):
            return Key(name, key_id(_raw(public)), False, file)
        self._write(file, _pem(public), 0o644)
        return Key(name, key_id(_raw(public)), False, file)

    def export(self, name: str) -> bytes:
        """The public half of a key, as PEM: what others trust.

        Raises:
            NotFound: There is no such key.
        """
        own, trusted = self._own(_checked(name)), self._folder / f"{name}.pub"
        return _pem(self._public(own) if own.exists() or not trusted.exists() else _read_public(trusted))

    def _own(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def _public(self, file: Path) -> Ed25519PublicKey:
        # The half that stands beside an encrypted key: the passphrase is asked for when something is signed, and then only.
        at = -1
        with suppress(OSError):  # what is wrong with the file is told where the private half is read
            at = _read(file).find(_BEGIN_PUBLIC)
        return self._private(file).public_key() if at < 0 else _read_public(file, at)

    def _private(self, file: Path) -> Ed25519PrivateKey:
        _need()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            secret = os.environ.get(PASSPHRASE_VARIABLE) if is_encrypted(file) else None
            if not secret and is_encrypted(file):
                raise CaptureError(
                    f"the key '{file.stem}' is encrypted, and no passphrase was given",
                    hint=f"set {PASSPHRASE_VARIABLE}, or sign later: `lineage sign RUN --key {file.stem}` asks for it",
                )
            key = load_pem_private_key(_read(file), secret.encode() if secret else None)
        except FileNotFoundError:
            raise NotFound("key", file.stem, hint="`lineage keys list` tells which there are; `lineage keys new` makes one") from None
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            if isinstance(error, ValueError) and is_encrypted(file):
                raise CaptureError(f"the passphrase does not open the key {file}", hint="give the one that it was made with") from None
            # Never the error's own words: they could quote the file.
            raise CaptureError(
                f"the key {file} cannot be read ({type(error).__name__})", hint="restore it from a copy, or make another"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise CaptureError(f"the key {file} is no Ed25519 key", hint="`lineage keys new` makes one")
        return key

    def _write(self, file: Path, content: bytes, mode: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            raise Conflict(f"there is a key '{file.stem}' already: {file}", hint="give another name with --name") from None
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        self._names = None


def is_encrypted(file: Path) -> bool:
    """Whether a private key's file needs a passphrase.

    Raises:
        OSError: It cannot be read.
    """
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in _read(file)


def _need() -> None:
    import importlib.util

    if importlib.util.find_spec("cryptography") is None:
        raise MissingExtra("cryptography", "signing")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name == OFF:
        raise UsageError(f"a key cannot be called '{name}'", hint="letters, digits, dots, dashes and underscores; not 'off'")
    return name


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_LARGEST_FILE_BYTES)


def _read_public(file: Path, at: int = 0) -> Ed25519PublicKey:
    _need()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = b""
    try:
        content = _read(file)[at:]
        key = load_pem_public_key(content)
    except FileNotFoundError:
        raise NotFound("file", str(file), hint="`lineage keys export` writes a public key") from None
    except (OSError, ValueError, UnsupportedAlgorithm):
        found = "a private key: do not send it around" if b"PRIVATE KEY" in content else "something else"
        raise InvalidSource(
            f"{file} holds no public key in PEM form: found {found}", hint="its owner writes one with `lineage keys export`"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidSource(
            f"{file} holds a public key of another kind than Ed25519", hint="its owner writes one with `lineage keys export`"
        )
    return key


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _pem(key: Ed25519PublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
