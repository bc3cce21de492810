"""Whether a trusted key has signed a bundle, in the OpenSSF model-signing format; signing.py signs one."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployrec.bundle.manifest import MANIFEST, SIGNATURE, Manifest
from deployrec.errors import BundleError, ConfigError
from deployrec.extras import missing_extra
from deployrec.files import first_line, open_regular

MOST_SIGNATURE = 2**24
CURVES = "an EC key in PEM on prime256v1, secp384r1 or secp521r1"


def check_signature(folder: Path, manifest: Manifest, trusted: Sequence[str | Path]) -> None:
    """Raises BundleError unless one of the trusted public keys has signed the bundle's manifest and files.

    Raises ConfigError for a key that is none.
    """
    if not isinstance(trusted, list | tuple) or not all(isinstance(key, str | Path) for key in trusted):
        raise ConfigError(f"expected a list of trusted keys' paths; got {first_line(ValueError(trusted))}; pass a list")
    verifying = library("verifying")
    verifiers = []
    for key in trusted:
        try:
            verifiers.append(verifying.Config().use_elliptic_key_verifier(public_key=Path(key)))
        except Exception as error:  # the library and cryptography share no base but Exception
            raise no_key(key, "public", error) from None
    signature = _read(folder)
    check_files(folder, manifest, signature)
    reasons = ["no key is trusted"]
    # From a copy: what is verified is what was read.
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / SIGNATURE
        copied.write_bytes(signature)
        for verifier in verifiers:
            try:
                verifier.set_ignore_unsigned_files(True).verify(folder, copied)
                return
            except Exception as error:
                reasons.append(first_line(error))
    raise BundleError(
        f"expected {folder} to be signed by {' or '.join(map(str, trusted)) or 'a trusted key'}; got another "
        f"signature ({reasons[-1]}); do not use it, or get it from whoever holds the key"
    )


def _read(folder: Path) -> bytes:
    path = folder / SIGNATURE
    try:
        with open_regular(path) as file:
            content = file.read(MOST_SIGNATURE)
    except OSError as error:
        got = "an unsigned bundle" if isinstance(error, FileNotFoundError) else error.strerror
        raise BundleError(
            f"expected the signature {path}; got {got}; do not use it, or let who made it run `deployrec sign`"
        ) from None
    return content


def check_files(folder: Path, manifest: Manifest, signature: bytes) -> None:
    """Raises BundleError where a signature is not about exactly the files that the bundle's manifest names."""
    wrong = f"expected a signature of {folder} as it stands; got one of"
    try:
        envelope = json.loads(signature)["dsseEnvelope"]
        resources = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["resources"]
        signed = {entry["name"]: entry["digest"] for entry in resources if entry["algorithm"] == "sha256"}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{wrong} another format ({first_line(error)}); sign it again") from None
    expected = {name: file.sha256 for name, file in manifest.files.items()}
    expected[MANIFEST] = hashlib.sha256(manifest.content).hexdigest()
    for name in sorted(expected.keys() | signed.keys()):
        if signed.get(name) != expected.get(name):
            raise BundleError(f"{wrong} another {name}; do not use it, or sign it again after a change of your own")


def no_key(key: str | Path, kind: str, error: Exception) -> ConfigError:
    got = "no such file" if isinstance(error, FileNotFoundError) else first_line(error)
    return ConfigError(f"expected the {kind} key {key}, {CURVES}; got {got}; see `openssl ecparam -genkey`")


def library(module: str) -> Any:
    """A module of model-signing; by its key-based signers no other service is asked anything."""
    try:
        from model_signing import hashing, signing, verifying
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None
    return {"hashing": hashing, "signing": signing, "verifying": verifying}[module]
