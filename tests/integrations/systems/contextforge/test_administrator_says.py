"""What an administrator's list says of a token or an account is said in whole words, in both languages."""

from types import SimpleNamespace
from typing import cast

import pytest

from integrations.registry import SYSTEMS
from integrations.systems.contextforge.client import ContextForge
from integrations.systems.contextforge.exposure import administrator_says
from playbooks.contacts import Language
from playbooks.plan import Answer
from playbooks.sentences import said

FORGE = cast("ContextForge", SimpleNamespace(gateway=SimpleNamespace(user="admin@example.com")))


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("state", ["revoked and inactive", "inactive", "active"])
async def test_it_says_what_the_list_says(state: str, *, held: bool) -> None:
    async def holds() -> bool:
        return held

    listed = f"the gateway lists it as {state}"
    found = await administrator_says(check="token", subject="token laptop", expected=listed, forge=FORGE, holds=holds)
    assert found.observed == (listed if held else f"it is not so that {listed}")
    assert found.answer is (Answer.ESTABLISHED if held else Answer.NOT_ESTABLISHED)
    korean = said(found.observed, Language.KO, SYSTEMS.words)
    assert "gateway" not in korean
    assert ("다음과 다름" in korean) is not held
