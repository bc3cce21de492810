"""Signatures: by a trusted key the bundle opens, by none or another it does not; offline, in the OpenSSF format."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.signing import sign
from deployrec.errors import BundleError, ConfigError
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("signing and checking ask nobody")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def keys(folder: Path, name: str, made: Any = None, password: str = "") -> tuple[Path, Path]:
    """Files of a private and its public key."""
    made = made or ec.generate_private_key(ec.SECP256R1())
    hidden = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.pem").write_bytes(made.private_bytes(pem, pkcs8, hidden))
    public = made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return folder / f"{name}.pem", folder / f"{name}.pub"


@pytest.fixture
def bundle(bundle_of: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_of("gru4rec"), tmp_path / "bundle"))


def test_a_signed_bundle_opens_for_who_trusts_the_key(bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path, "mine")
    _, other = keys(tmp_path, "other")
    before = Bundle.open(bundle).manifest
    assert sign(Bundle.open(bundle), private) == bundle / "model.sig"
    opened = Bundle.open(bundle, trusted=[public])
    assert opened.manifest == before
    assert opened.stray_files() == []
    assert Bundle.open(bundle, trusted=[other, public]).manifest == before
    assert Recommender.load(bundle, trusted=[str(public)]).recommend("u")
    assert verify(bundle, trusted=[public]).passed
    with pytest.raises(BundleError, match=r"to be signed by .*other\.pub; got another signature") as error:
        Bundle.open(bundle, trusted=[other])
    assert "\n" not in str(error.value)


def test_the_format_is_the_librarys_own(bundle: Path, tmp_path: Path) -> None:
    import model_signing

    private, public = keys(tmp_path, "mine")
    sign(Bundle.open(bundle), private)
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=["model.sig"], ignore_git_paths=False)
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.set_hashing_config(hashing).verify(bundle, bundle / "model.sig")


def test_an_unsigned_bundle_is_refused_where_keys_are_trusted(bundle: Path, tmp_path: Path) -> None:
    _, public = keys(tmp_path, "mine")
    for call in (Bundle.open, Recommender.load, verify):
        with pytest.raises(BundleError, match="got an unsigned bundle"):
            call(bundle, trusted=[public])


def test_to_trust_no_key_is_to_open_nothing(bundle: Path, tmp_path: Path) -> None:
    sign(Bundle.open(bundle), keys(tmp_path, "mine")[0])
    with pytest.raises(BundleError, match="no key is trusted"):
        Bundle.open(bundle, trusted=[])


def reseal(bundle: Path) -> None:
    """As somebody who edits a bundle and mends every digest."""
    document = json.loads((bundle / "manifest.json").read_text())
    seal(bundle, {**document, "created": "2027-01-01"})


def add(bundle: Path) -> None:
    (bundle / "engine").mkdir()
    (bundle / "engine" / "step.plan").write_bytes(b"plan")
    reseal(bundle)


def edit(bundle: Path) -> None:
    table = bytearray((bundle / "items.bin").read_bytes())
    table[-1] ^= 1
    (bundle / "items.bin").write_bytes(table)
    reseal(bundle)


def remove(bundle: Path) -> None:
    (bundle / "parity.json").unlink()
    reseal(bundle)


def resign(bundle: Path) -> None:
    """A signature of another bundle by the right key."""
    signature = (bundle / "model.sig").read_bytes()
    reseal(bundle)
    (bundle / "model.sig").write_bytes(signature)


@pytest.mark.parametrize("change", [reseal, add, edit, remove, resign])
def test_any_change_takes_the_signature_away(bundle: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    private, public = keys(tmp_path, "mine")
    sign(Bundle.open(bundle), private)
    change(bundle)
    Bundle.open(bundle)
    with pytest.raises(BundleError, match=r"expected a signature of .* as it stands; got one of another"):
        Bundle.open(bundle, trusted=[public])
    sign(Bundle.open(bundle), private)
    Bundle.open(bundle, trusted=[public])


def test_a_forged_payload_is_refused(bundle: Path, tmp_path: Path) -> None:
    """The files it names are those of the bundle, but another key signed it."""
    _, public = keys(tmp_path, "mine")
    forger, _ = keys(tmp_path, "forger")
    signature = json.loads(sign(Bundle.open(bundle), forger).read_text())
    for hint in (signature["verificationMaterial"]["publicKey"]["hint"], ""):
        signature["verificationMaterial"]["publicKey"]["hint"] = hint
        (bundle / "model.sig").write_text(json.dumps(signature))
        with pytest.raises(BundleError, match="got another signature"):
            Bundle.open(bundle, trusted=[public])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 10**6, b'{"dsseEnvelope": {"payload": "bm9uZQ=="}}'])
def test_a_broken_signature_is_one_line(bundle: Path, tmp_path: Path, content: bytes) -> None:
    _, public = keys(tmp_path, "mine")
    (bundle / "model.sig").write_bytes(content)
    with pytest.raises(BundleError) as error:
        Bundle.open(bundle, trusted=[public])
    assert "\n" not in str(error.value)


def test_stray_files_are_not_signed_and_harm_nothing(bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path, "mine")
    (bundle / "notes.txt").write_text("early")
    sign(Bundle.open(bundle), private)
    (bundle / "late.txt").write_text("late")
    assert Bundle.open(bundle, trusted=[public]).stray_files() == ["late.txt", "notes.txt"]


def test_keys_that_are_none_are_one_line(bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path, "mine")
    rsa_private, rsa_public = keys(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    curve_private, curve_public = keys(tmp_path, "curve", ec.generate_private_key(ec.SECP256K1()))
    opened = Bundle.open(bundle)
    for key in (public, tmp_path / "none.pem", rsa_private, curve_private, bundle):
        with pytest.raises(ConfigError, match="expected the private key") as error:
            sign(opened, key)
        assert "\n" not in str(error.value)
    sign(opened, private)
    for key in (private, tmp_path / "none.pub", rsa_public, curve_public, bundle):
        with pytest.raises(ConfigError, match="expected the public key") as error:
            Bundle.open(bundle, trusted=[key])
        assert "\n" not in str(error.value)
    odd: list[Any] = [str(public), public, 3, [3], {"key": public}]
    for trusted in odd:
        with pytest.raises(ConfigError, match="expected a list of trusted keys"):
            Bundle.open(bundle, trusted=trusted)


def test_a_key_with_a_password(bundle: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path, "mine", password="secret")
    with pytest.raises(ConfigError, match="expected the private key"):
        sign(Bundle.open(bundle), private)
    sign(Bundle.open(bundle), private, "secret")
    Bundle.open(bundle, trusted=[public])


def test_without_the_library_one_line_says_what_to_install(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, public = keys(tmp_path, "mine")
    monkeypatch.setitem(__import__("sys").modules, "model_signing", None)
    with pytest.raises(ConfigError, match=r'pip install "deployrec\[sign\]"'):
        Bundle.open(bundle, trusted=[public])
