"""Sealing: what an incident's evidence consists of, signed; and the bundle that holds all of it, to be handed over.

The evidence itself stays where it is: the manifest vouches for its every byte, however much there is.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flows.engine.case import PREFIX, Case, Stopped
from flows.engine.effects import failed
from flows.engine.schedule import Todo
from integrations import whole
from integrations.journal.store import Journal, LostClaim
from integrations.signing import PublicKey, SigningKey
from integrations.vault import Vault, bundle, disk
from playbooks.errors import Misconfigured, SoarError
from playbooks.record.evidence import SIGNED, Exhibit, Manifest, Unavailable
from playbooks.record.journal import Entry, Event, Head
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import Json, now, sha256

SEAL_AGAIN = 2.0
SEAL_AGAIN_MOST = 900.0
"""Seconds until evidence that could not be sealed is tried again: at first, doubled each time, and at most."""


class Signed(NamedTuple):
    """What there is of an incident, and the signed manifest of it.

    Args:
        state: what its journal says.
        entries: of its stream.
        heads: that cover them.
        manifest: the signed envelope.
    """

    state: Incident
    entries: Sequence[Entry]
    heads: Sequence[Head]
    manifest: bytes


async def signed(
    incident: str, *, journal: Journal, signer: SigningKey, keys: Mapping[str, PublicKey], name: str
) -> Signed:
    """Sign the manifest of all that there is of an incident now.

    Args:
        incident: its id.
        journal: what is read.
        signer: of the manifest.
        keys: every responder's public key, by id.
        name: who makes it.
    """
    # Others append meanwhile: first the heads, then the entries, so that no head witnesses an entry that is not there.
    # For entries after the last head, the manifest vouches itself.
    stream = f"{PREFIX}{incident}"
    heads = await journal.heads_for([stream])
    entries = await journal.read(stream)
    state = project(incident, entries)
    held = [item for item in state.exhibits if item["id"] not in state.deleted_exhibits]
    manifest = Manifest(
        incident=incident,
        playbook=state.playbook_digest,
        made_at=now(),
        made_by=name,
        exhibits=tuple(Exhibit.model_validate(item) for item in held),
        unavailable=tuple(Unavailable.model_validate(item) for item in state.unavailable),
        journal=bundle.tips(entries, heads),
        keys=tuple(sorted(keys)),
    )
    return Signed(state, entries, heads, bundle.sign(manifest, signer.dsse()))


async def bundled(
    incident: str,
    *,
    journal: Journal,
    vault: Vault,
    signer: SigningKey,
    keys: Mapping[str, PublicKey],
    name: str,
    out: Path,
    reserve: int,
) -> Incident:
    """Write a signed bundle of all that there is of an incident now, and return what its journal says.

    Args:
        incident: its id.
        journal: what is read.
        vault: where its exhibits are; those that were deleted are named by the journal alone.
        signer: of the manifest.
        keys: every responder's public key, by id.
        name: who makes it.
        out: a new file (.tar.gz) or folder.
        reserve: bytes that stay free on its file system, for the journal.

    Raises:
        SoarError: as for `bundle.export`.
    """
    made = await signed(incident, journal=journal, signer=signer, keys=keys, name=name)
    await bundle.export(
        incident,
        vault=vault,
        journal_entries=made.entries,
        heads=made.heads,
        public_keys=tuple(keys.values()),
        manifest=made.manifest,
        out=out,
        reserve=reserve,
    )
    return made.state


async def seal(case: Case, todo: Todo) -> None:
    """Keep the signed manifest of everything that is known so far, and record its digest; it replaces the one before.

    What goes wrong is tried again for as long as the incident is open: people are told, and may make room.
    """
    parts = case.parts
    try:
        out = parts.bundles / f"{case.id}-{case.state.seq:06d}{SIGNED}"
        made = await signed(case.id, journal=parts.journal, signer=parts.signer, keys=parts.keys, name=parts.name)
        await asyncio.to_thread(_keep, out, made.manifest, parts.reserve)
        counts: dict[str, Json] = {"exhibits": len(made.state.exhibits), "unavailable": len(made.state.unavailable)}
        await case.record(Event("sealed", {"digest": sha256(made.manifest), "bundle": out.name, **counts}))
        for earlier in made.state.bundles:
            # The new one names all that it named.
            await asyncio.to_thread(_outdated, parts.bundles, earlier, out.name)
    except (LostClaim, Stopped):
        raise
    except SoarError as exc:
        step = case.state.steps.get(todo.instance)
        wait = min(SEAL_AGAIN * 2.0 ** (step.attempt if step else 0), SEAL_AGAIN_MOST)
        await failed(case, todo, exc, again=wait)


def _keep(out: Path, data: bytes, reserve: int) -> None:
    """Write a manifest whole, over what has its name: nothing vouches for that, planted or a dead predecessor's."""
    with disk.translated():
        if out.is_dir() and not out.is_symlink():
            raise Misconfigured("a folder stands where a manifest belongs: move it away", file=str(out))
        disk.check_room(out.parent, len(data), reserve)
        temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
        try:
            disk.write(temporary, data)
            temporary.rename(out)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        whole.sync(out.parent)


def _outdated(folder: Path, name: str, current: str) -> None:
    if Path(name).name == name != current:
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
