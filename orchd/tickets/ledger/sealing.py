"""Secrets encrypted with the operator's key: AES-256-GCM. The library is imported only where such a key is named."""

from __future__ import annotations

import hashlib
import secrets

from orchd.domain.model import Secret
from orchd.errors import Code, SettingsError

MIN_CHARACTERS = 32
_LABEL = b"orchd ledger keys 1\0"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Seal:
    """Seals and opens secrets with one key.

    Args:
        key: the line in the file that `tickets.key_file` names.

    Raises:
        SettingsError: it is too short to be a key.
    """

    def __init__(self, key: Secret) -> None:
        if len(key.value) < MIN_CHARACTERS:
            raise SettingsError(
                f"cannot use the key in tickets.key_file: it has {len(key.value)} characters, and takes at least "
                f"{MIN_CHARACTERS}; make one with: openssl rand -hex 32",
                code=Code.SECRET_UNREADABLE,
            )
        self._key = hashlib.sha256(_LABEL + key.value.encode()).digest()

    def close(self, secret: bytes, about: bytes) -> bytes:
        """Return the secret encrypted: nonce, ciphertext, tag.

        Args:
            about: what it is the secret of; it opens for nothing else.
        """
        from Crypto.Cipher import AES

        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=nonce)
        cipher.update(about)
        text, tag = cipher.encrypt_and_digest(secret)
        return nonce + text + tag

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Return the secret.

        Raises:
            ValueError: it was sealed with another key, for something else, or was changed.
        """
        from Crypto.Cipher import AES

        cipher = AES.new(self._key, AES.MODE_GCM, nonce=sealed[:_NONCE_BYTES])
        cipher.update(about)
        return cipher.decrypt_and_verify(sealed[_NONCE_BYTES:-_TAG_BYTES], sealed[-_TAG_BYTES:])
