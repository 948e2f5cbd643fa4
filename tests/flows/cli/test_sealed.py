"""What is sealed is the signed manifest: verify holds journal, vault and manifest against each other."""

import asyncio
from pathlib import Path

import pytest

from flows.engine import sealing
from flows.engine.parts import Parts
from flows.service.assembly import assembled
from integrations.signing import SigningKey
from integrations.vault import bundle
from playbooks.record.evidence import SIGNED, Exhibit, Manifest
from playbooks.record.journal import Event
from playbooks.strict import sha256
from tests.flows.cli import test_privacy as privacy
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.lab import exhibits

NAME = f"{ID}-000004{SIGNED}"


@pytest.fixture
def sealed(site: Installation) -> Installation:
    """An installation with one closed incident: two exhibits, and the manifest that seals them."""
    site.append(world.opened(), world.alert())
    asyncio.run(seal(site))
    with site.responder():
        site.json("close", "1", "--yes", "--as", "kim")
    return site


async def seal(site: Installation, *, left_out: str = "", key: SigningKey | None = None) -> None:
    """Keep two exhibits, and seal them; as somebody else would, or without one of them."""
    async with assembled(site.config) as parts:
        for number, kind in ((0, "raw-alert"), (100, "definitions")):
            await privacy.exhibit(parts, number, kind)
        manifest = await _manifest(parts, left_out, key or parts.signer)
        (parts.bundles / NAME).write_bytes(manifest)
        body = {"digest": sha256(manifest), "bundle": NAME, "exhibits": 2, "unavailable": 0}
        await parts.journal.append(f"incident/{ID}", [Event("sealed", body)])


async def _manifest(parts: Parts, left_out: str, key: SigningKey) -> bytes:
    made = await sealing.signed(ID, journal=parts.journal, signer=parts.signer, keys=parts.keys, name="test")
    path = parts.bundles / f"scratch{SIGNED}"
    path.write_bytes(made.manifest)
    manifest = bundle.signed(path, list(parts.keys.values()))
    path.unlink()
    kept: tuple[Exhibit, ...] = tuple(one for one in manifest.exhibits if one.kind != left_out)
    return bundle.sign(Manifest.model_validate({**manifest.model_dump(), "exhibits": kept}), key.dsse())


def said(site: Installation, code: int = 0) -> str:
    return privacy.checks(site, code)[f"sealed-{ID}"]


def file(site: Installation) -> Path:
    return site.folder / "state" / "bundles" / NAME


def test_it_holds_and_is_a_witness_of_the_journals_end(sealed: Installation) -> None:
    found = privacy.checks(sealed)
    assert found[f"sealed-{ID}"] == f"{NAME} is the manifest that the journal names, and holds"
    assert "kept in 1 bundles" in found["journal"]
    assert found[f"exhibits-{ID}"].startswith("2 exhibits")


def test_an_exhibit_of_which_the_journal_names_none_is_found(site: Installation) -> None:
    site.append(world.opened(), world.alert())
    assert f"exhibits-{ID}" not in privacy.checks(site)

    async def plant() -> None:
        async with assembled(site.config) as parts:
            await exhibits.kept(parts.vault, ID, 1, "definitions", {"data.bin": b"planted"})

    asyncio.run(plant())
    assert "the journal knows nothing of this exhibit" in privacy.checks(site, 1)[f"exhibits-{ID}"]


def test_no_byte_of_it_can_change(sealed: Installation) -> None:
    data = bytearray(file(sealed).read_bytes())
    data[len(data) // 2] ^= 1
    file(sealed).write_bytes(data)
    assert said(sealed, code=1).startswith("FAIL")


def test_it_cannot_go(sealed: Installation) -> None:
    file(sealed).unlink()
    assert "No such file" in said(sealed, code=1)


def test_another_ones_in_its_place_is_found(sealed: Installation) -> None:
    async def other() -> bytes:
        async with assembled(sealed.config) as parts:
            # Signed by the right key, and not what was sealed.
            return await _manifest(parts, "definitions", parts.signer)

    file(sealed).write_bytes(asyncio.run(other()))
    assert "not the file that the journal names" in said(sealed, code=1)


@pytest.mark.parametrize(("harm", "words"), [("definitions", "in the journal and not in the manifest"), ("", "")])
def test_one_that_leaves_something_out_is_found_though_the_journal_names_it(
    site: Installation, harm: str, words: str
) -> None:
    site.append(world.opened(), world.alert())
    asyncio.run(seal(site, left_out=harm))
    assert words in said(site, code=1 if harm else 0)


def test_one_that_no_responder_signed_is_worth_nothing(site: Installation, tmp_path: Path) -> None:
    site.append(world.opened(), world.alert())
    asyncio.run(seal(site, key=SigningKey.generate(tmp_path / "stranger.key")))
    assert "no responder signed" in said(site, code=1)


def test_it_stays_when_the_evidence_is_deleted_and_still_holds(sealed: Installation) -> None:
    privacy.expired(sealed)
    found = privacy.checks(sealed)
    assert found[f"sealed-{ID}"].endswith("and holds")
    assert NAME not in found[f"deleted-{ID}"]
    assert not list(sealed.folder.rglob("data.bin"))


def test_alone_it_is_no_bundle(sealed: Installation) -> None:
    key = str(sealed.folder / "keys" / "responder.pub")
    assert "mcp-soar archive" in sealed.error("verify", str(file(sealed)), "--key", key, code=2)["message"]


def test_a_bundle_is_made_of_it_when_it_is_asked_for(sealed: Installation, tmp_path: Path) -> None:
    out = tmp_path / "evidence.tar.gz"
    sealed.json("archive", "1", "--out", str(out))
    assert sealed.json("verify", str(out), "--key", str(sealed.folder / "keys" / "responder.pub"))["ok"]
