"""What a confined part has to read to run at all, and whether anything secret lies within that."""

import contextlib
import site
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from flows.service.settings import Configuration
from playbooks.estate.systems import Secret

_ETC = ("hosts", "nsswitch.conf", "resolv.conf", "gai.conf", "host.conf", "localtime", "passwd")
_CODE = ("flows", "integrations", "playbooks")
# Of the folders where private keys are kept as well, what is for everybody.
_CERTIFICATES = (
    "ssl/certs",
    "ssl/cert.pem",
    "ssl/ca-bundle.pem",
    "ssl/openssl.cnf",
    "pki/ca-trust",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
)


def needed_by_python() -> Iterator[Path]:
    """Yield what has to be read to run Python and our code, find a host, and check a certificate."""
    root = Path(__file__).resolve().parents[2]
    yield from (root / name for name in _CODE)
    installed = [
        sys.prefix,
        sys.base_prefix,
        *site.getsitepackages(),
        "/usr/lib",
        "/usr/share/zoneinfo",
        "/lib",
        "/lib64",
    ]
    yield from (Path(place).resolve() for place in installed)
    with contextlib.suppress(OSError):
        yield Path(sys.executable).resolve(strict=True)
    yield from (Path("/etc") / name for name in (*_ETC, *_CERTIFICATES))
    yield from (Path("/dev/urandom"), Path("/run/systemd/resolve"))
    if bundle := ssl.get_default_verify_paths().cafile:
        yield Path(bundle)


def laid_open(config: Configuration) -> str:
    """Return what of a configuration is within what a part has to read, in words for a person; nothing if nothing.

    Args:
        config: the configuration, whose folder holds people's keys and the state.
    """
    code = [path.resolve() for path in needed_by_python()]
    for what, place in _kept(config):
        # A rule for a folder is one for all that is in it; what a link points to is what is read.
        for path in {place.absolute(), place.resolve()}:
            if within := [one for one in code if path.is_relative_to(one)]:
                return f"{what} is in {within[0]}, which a part has to read to run: keep it elsewhere"
    return ""


def _kept(config: Configuration) -> Iterator[tuple[str, Path]]:
    settings = config.settings
    yield "the configuration", config.folder
    yield "the state", config.folder / "state"
    yield "the evidence", config.path(settings.vault.path)
    yield "a bundle of evidence", config.path(settings.vault.bundles)
    yield "the responder's key", config.path(settings.key)
    yield "the receiver's stamp", config.path(settings.receiver.stamp)
    if settings.receiver.key is not None:
        yield "the receiver's key", config.path(settings.receiver.key)
    for part in (settings, config.inventory, config.sources, config.contacts):
        for secret in _secrets(part):
            yield "a secret", config.folder / Path(secret).expanduser()


def _secrets(value: object) -> Iterator[str]:
    """Yield the files in which secrets are."""
    if isinstance(value, Secret):
        if value.file is not None:
            yield value.file
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from _secrets(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _secrets(one)
