"""Signatures of bundles in the OpenSSF model-signing format (https://github.com/ossf/model-signing-spec), by EC keys.

`deployrec sign` writes one; `Bundle.open(trusted=...)` asks for one. Needs the extra `sign`, and no network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployrec.bundle.manifest import MANIFEST, SIGNATURE
from deployrec.errors import BundleError, ConfigError
from deployrec.extras import missing_extra
from deployrec.files import atomic_write, first_line, open_regular

if TYPE_CHECKING:
    from deployrec.bundle.bundle import Bundle

MOST_SIGNATURE = 2**24
CURVES = "an EC key in PEM on prime256v1, secp384r1 or secp521r1"


def sign(bundle: Bundle, key: str | Path, password: str | None = None) -> Path:
    """Signs every file of a bundle that was opened with its checks; returns the signature's path, model.sig in it.

    key: private, in PEM; password: where the key has one. Raises ConfigError for a key that cannot sign.
    """
    signing, hashing = _library("signing"), _library("hashing")
    try:
        signer = signing.Config().use_elliptic_key_signer(
            private_key=Path(key), password=None if password is None else password.encode()
        )
    except Exception as error:  # the library and cryptography share no base but Exception
        raise _no_key(key, "private", error) from None
    unsigned = [bundle.path / name for name in (*bundle.stray_files(), SIGNATURE)]
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / SIGNATURE
        signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=unsigned, ignore_git_paths=False))
        try:
            signer.sign(bundle.path, written)
        except Exception as error:
            raise BundleError(f"expected to sign {bundle.path}; got '{first_line(error)}'; export it again") from None
        signature = written.read_bytes()
    _check_files(bundle, signature)
    atomic_write(bundle.path / SIGNATURE, signature)
    return bundle.path / SIGNATURE


def check_signature(bundle: Bundle, trusted: Sequence[str | Path]) -> None:
    """Raises BundleError unless one of the trusted public keys has signed the bundle's manifest and files.

    Raises ConfigError for a key that is none.
    """
    if not isinstance(trusted, list | tuple) or not all(isinstance(key, str | Path) for key in trusted):
        raise ConfigError(f"expected a list of trusted keys' paths; got {first_line(ValueError(trusted))}; pass a list")
    verifying = _library("verifying")
    verifiers = []
    for key in trusted:
        try:
            verifiers.append(verifying.Config().use_elliptic_key_verifier(public_key=Path(key)))
        except Exception as error:  # the library and cryptography share no base but Exception
            raise _no_key(key, "public", error) from None
    signature = _read(bundle)
    _check_files(bundle, signature)
    reasons = ["no key is trusted"]
    # From a copy: what is verified is what was read.
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / SIGNATURE
        copied.write_bytes(signature)
        for verifier in verifiers:
            try:
                verifier.set_ignore_unsigned_files(True).verify(bundle.path, copied)
                return
            except Exception as error:
                reasons.append(first_line(error))
    raise BundleError(
        f"expected {bundle.path} to be signed by {' or '.join(map(str, trusted)) or 'a trusted key'}; got another "
        f"signature ({reasons[-1]}); do not use it, or get it from whoever holds the key"
    )


def _read(bundle: Bundle) -> bytes:
    path = bundle.path / SIGNATURE
    try:
        with open_regular(path) as file:
            content = file.read(MOST_SIGNATURE)
    except OSError as error:
        got = "an unsigned bundle" if isinstance(error, FileNotFoundError) else error.strerror
        raise BundleError(
            f"expected the signature {path}; got {got}; do not use it, or let who made it run `deployrec sign`"
        ) from None
    return content


def _check_files(bundle: Bundle, signature: bytes) -> None:
    """Raises BundleError where a signature is not about exactly the files that the bundle's manifest names."""
    wrong = f"expected a signature of {bundle.path} as it stands; got one of"
    try:
        envelope = json.loads(signature)["dsseEnvelope"]
        resources = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["resources"]
        signed = {entry["name"]: entry["digest"] for entry in resources if entry["algorithm"] == "sha256"}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{wrong} another format ({first_line(error)}); sign it again") from None
    expected = {name: file.sha256 for name, file in bundle.manifest.files.items()}
    expected[MANIFEST] = hashlib.sha256(bundle.manifest.content).hexdigest()
    for name in sorted(expected.keys() | signed.keys()):
        if signed.get(name) != expected.get(name):
            raise BundleError(f"{wrong} another {name}; do not use it, or sign it again after a change of your own")


def _no_key(key: str | Path, kind: str, error: Exception) -> ConfigError:
    got = "no such file" if isinstance(error, FileNotFoundError) else first_line(error)
    return ConfigError(f"expected the {kind} key {key}, {CURVES}; got {got}; see `openssl ecparam -genkey`")


def _library(module: str) -> Any:
    """A module of model-signing; by its key-based signers no other service is asked anything."""
    try:
        from model_signing import hashing, signing, verifying
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None
    return {"hashing": hashing, "signing": signing, "verifying": verifying}[module]
