"""Signatures of bundles in the OpenSSF model-signing format (https://github.com/ossf/model-signing-spec), by EC keys.

`deployrec sign` writes one; `Bundle.open(trusted=...)` asks for one. Needs the extra `sign`, and no network.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import SIGNATURE
from deployrec.bundle.signature import check_files, library, no_key
from deployrec.errors import BundleError
from deployrec.files import atomic_write, first_line


def sign(bundle: Bundle, key: str | Path, password: str | None = None) -> Path:
    """Signs every file of a bundle that was opened with its checks; returns the signature's path, model.sig in it.

    key: private, in PEM; password: where the key has one. Raises ConfigError for a key that cannot sign.
    """
    signing, hashing = library("signing"), library("hashing")
    try:
        signer = signing.Config().use_elliptic_key_signer(
            private_key=Path(key), password=None if password is None else password.encode()
        )
    except Exception as error:  # the library and cryptography share no base but Exception
        raise no_key(key, "private", error) from None
    unsigned = [bundle.path / name for name in (*bundle.stray_files(), SIGNATURE)]
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / SIGNATURE
        signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=unsigned, ignore_git_paths=False))
        try:
            signer.sign(bundle.path, written)
        except Exception as error:
            raise BundleError(f"expected to sign {bundle.path}; got '{first_line(error)}'; export it again") from None
        signature = written.read_bytes()
    check_files(bundle.path, bundle.manifest, signature)
    atomic_write(bundle.path / SIGNATURE, signature)
    return bundle.path / SIGNATURE
