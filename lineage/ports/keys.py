"""Who signs records, and whose signatures count."""

from __future__ import annotations

from typing import Protocol

from lineage.model.signing import SignedBy

PASSPHRASE_VARIABLE = "LINEAGE_KEY_PASSPHRASE"
"""Environment variable with the passphrase of an encrypted key."""


class Keyring(Protocol):
    """This account's Ed25519 keys, and the public keys of others that it trusts."""

    def automatic(self) -> str | None:
        """Name of the key that signs every run when it ends; ``None`` when there is none, or it was switched off."""

    def sign(self, message: bytes, name: str) -> SignedBy:
        """Sign with a key of this account.

        Raises:
            NotFound: There is no such key.
            CaptureError: Its file cannot be used, or it is encrypted and the passphrase is not there, or another one.
            MissingExtra: The package for signatures is not installed.
        """

    def is_valid(self, message: bytes, made: SignedBy) -> bool:
        """Whether a signature is the key's, over exactly this message. Says nothing of whose key it is.

        Raises:
            MissingExtra: The package for signatures is not installed.
        """

    def name_of(self, public_key: bytes) -> str | None:
        """What this account calls a key: one of its own, or one that it trusts; ``None`` for any other."""
