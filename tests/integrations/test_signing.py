"""A signing key is a file for one user, and signs what it says it signs."""

import hashlib
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Misconfigured, Refused

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_a_generated_key_is_for_its_owner_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = SigningKey.generate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]
    loaded = SigningKey.load(path)
    assert loaded.id == made.id
    assert loaded.sign(b"data") == made.sign(b"data")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"somebody's")
    with pytest.raises(Misconfigured, match="never overwritten"):
        SigningKey.generate(path)
    assert path.read_bytes() == b"somebody's"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]


def test_a_key_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be written"):
        SigningKey.generate(tmp_path / "nowhere" / "key.pem")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o644, 0o610])
def test_a_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    SigningKey.generate(path)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match="chmod 600") as caught:
        SigningKey.load(path)
    assert caught.value.file == str(path)


def test_a_linked_key_is_judged_by_its_file(tmp_path: Path) -> None:
    path, link = tmp_path / "key.pem", tmp_path / "link.pem"
    made = SigningKey.generate(path)
    link.symlink_to(path)
    assert SigningKey.load(link).id == made.id
    path.chmod(0o644)
    with pytest.raises(Misconfigured):
        SigningKey.load(link)


def _file(path: Path, data: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


def test_what_is_no_plain_ed25519_key_is_refused_without_being_quoted(tmp_path: Path) -> None:
    wrong = {
        "nothing": b"",
        "text": b"not a key, but a secret",
        "half": b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        "curve": generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "locked": Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
        ),
        "public": KEY.public.pem,
    }
    for name, data in wrong.items():
        path = _file(tmp_path / name, data)
        with pytest.raises(Misconfigured, match=name) as caught:
            SigningKey.load(path)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None or name == "locked"
    with pytest.raises(Misconfigured, match="cannot be opened"):
        SigningKey.load(tmp_path / "missing")
    with pytest.raises(Misconfigured, match="ordinary"):
        SigningKey.load(tmp_path)


def test_the_id_is_the_hash_that_openssl_shows() -> None:
    der = KEY.public._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # noqa: SLF001  # no other way in
    assert KEY.id == "sha256:" + hashlib.sha256(der).hexdigest()
    assert PublicKey.from_pem(KEY.public.pem) == KEY.public
    assert len({PublicKey.from_pem(KEY.public.pem), KEY.public}) == 1


def test_a_private_key_is_not_shown_and_does_not_travel() -> None:
    assert repr(KEY) == f"SigningKey({KEY.id})"
    with pytest.raises(TypeError, match="process"):
        pickle.dumps(KEY)


def test_a_public_key_is_read_from_a_file(tmp_path: Path) -> None:
    assert PublicKey.load(_file(tmp_path / "key.pub", KEY.public.pem)) == KEY.public
    curve = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, data in {"curve": curve, "text": b"x", "long": b"x" * 100_000}.items():
        with pytest.raises(Misconfigured, match=name):
            PublicKey.load(_file(tmp_path / name, data))
    with pytest.raises(Misconfigured, match="cannot be read"):
        PublicKey.load(tmp_path / "missing")


@given(data=st.binary(max_size=200), bit=st.integers(0, 511))
def test_a_signature_holds_for_its_bytes_alone(data: bytes, bit: int) -> None:
    signature = KEY.sign(data)
    KEY.public.verify(data, signature)
    changed = bytearray(signature)
    changed[bit // 8] ^= 1 << bit % 8
    assert not KEY.public.signed(data, bytes(changed))
    with pytest.raises(Refused):
        KEY.public.verify(data + b"\0", signature)


@pytest.mark.parametrize("signature", [b"", b"short", bytes(64), bytes(65)])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(Refused):
        KEY.public.verify(b"data", signature)
