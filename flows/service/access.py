"""How a process gets at journal and evidence: addresses, keys. It loads no client of anything that is acted on."""

from pathlib import Path
from urllib.parse import quote

from flows.service.settings import Configuration, DatabaseAccount
from integrations.journal.stamp import Stamp
from integrations.journal.store import Journal
from integrations.secret import secret
from integrations.signing import PublicKey, SigningKey
from integrations.vault import Vault
from integrations.vault.local import LocalVault
from integrations.vault.moved import MovedVault
from playbooks.errors import Misconfigured, Transient


def journal_url(config: Configuration, account: DatabaseAccount | None = None) -> str:
    """Return the journal's address with its password in it; it goes to the database driver and nowhere else.

    Args:
        config: the configuration.
        account: whose address, one of those in `receiver` and `prefect`; by default the responder's.

    Raises:
        Misconfigured: if the password is not to be found.
    """
    place = account.password if account else config.settings.journal.password
    if place is None and account is None:
        return config.journal_url
    scheme, _, rest = config.journal_url.partition("://")
    user, at, host = rest.rpartition("@")
    if account is None and (not at or ":" in user):
        raise Misconfigured(
            "write postgresql://user@host/name; the password comes from `password`", field="journal.url"
        )
    name = quote(account.user, safe="") if account else user
    what = f"the password of {account.user}" if account else "journal.password"
    password = f":{quote(secret(place, what=what), safe='')}" if place else ""
    return f"{scheme}://{name}{password}@{host}"


def missing(config: Configuration) -> Path | None:
    """Return where the journal's file would be if it is not there; opening it would make an empty one."""
    scheme, _, path = config.journal_url.partition(":///")
    return Path(path) if scheme.startswith("sqlite") and not Path(path).exists() else None


def made(config: Configuration) -> None:
    """Refuse to go on where there is no journal yet.

    Raises:
        Transient: there is none.
    """
    if (path := missing(config)) is not None:
        raise Transient(f"there is no journal at {path} yet; `mcp-soar up` makes it when it first starts")


async def open_inbox(config: Configuration, *, name: str) -> Journal:
    """Open the journal under the receiver's account: to put into the inbox, and for nothing else.

    Args:
        config: the configuration.
        name: of this process.

    Raises:
        Misconfigured: if the address is not right, or there is no key to stamp with.
    """
    stamp = Stamp.load(config.path(config.settings.receiver.stamp))
    url = journal_url(config, config.settings.receiver.account)
    return await Journal.open(url, signer=None, name=name, stamp=stamp)


async def open_journal(config: Configuration, *, name: str, writing: bool) -> Journal:
    """Open the journal; only a responder opens it for writing.

    Args:
        config: the configuration.
        name: of this process.
        writing: load the signing key and migrate.

    Raises:
        Misconfigured: if address or key are not right.
    """
    url = journal_url(config)
    if url.startswith("sqlite"):
        Path(url.partition(":///")[2]).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = SigningKey.load(config.path(config.settings.key)) if writing else None
    stamp = Stamp.ensure(config.path(config.settings.receiver.stamp)) if writing else None
    keys = list(responder_keys(config).values())
    journal = await Journal.open(url, signer=signer, name=name, keys=keys, stamp=stamp)
    try:
        if writing:
            await _prepare(journal, config)
    except BaseException:
        await journal.aclose()
        raise
    return journal


async def _prepare(journal: Journal, config: Configuration) -> None:
    """Have it have this release's tables, and each account its rights."""
    await journal.migrate()
    if (account := config.settings.receiver.account) is not None:
        await journal.grant(account.user, "receiver")
    if (workers := config.settings.prefect.workers) is not None:
        await journal.grant(workers.user, "worker")
    if (readers := config.settings.prefect.readers) is not None:
        await journal.grant(readers.user, "reader")


def responder_keys(config: Configuration) -> dict[str, PublicKey]:
    """Return the public keys of all responders there are or were, by id."""
    keys = [PublicKey.load(config.path(path)) for path in config.settings.responders]
    return {key.id: key for key in keys}


def open_vault(config: Configuration) -> Vault:
    """Return where exhibits are kept: in the folder, or in the bucket that the settings name; the caller closes it.

    What the folder held before there was a bucket is still found there.
    """
    kept = config.settings.vault
    folder = LocalVault(config.path(kept.path), reserve=kept.reserve, most=kept.most)
    if kept.s3 is None:
        return folder
    from integrations.vault.s3.store import S3Vault  # noqa: PLC0415  # boto3, for those alone who keep evidence there

    bucket = S3Vault(kept.s3, most=kept.most)
    return MovedVault(bucket, folder) if config.path(kept.path).exists() else bucket
