"""What an administrator's list says of a token or an account is said in whole words, in both languages."""

from types import SimpleNamespace
from typing import cast

import pytest

from integrations.gateways.affected import administrator_says
from integrations.gateways.driver import GatewayDriver
from integrations.registry import SYSTEMS
from playbooks.gate.plan import Answer
from playbooks.people.contacts import Language
from playbooks.text.sentences import said, say

FORGE = cast("GatewayDriver", SimpleNamespace(administrator="admin@example.com"))


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("state", ["revoked and inactive", "inactive", "active"])
async def test_it_says_what_the_list_says(state: str, *, held: bool) -> None:
    async def holds() -> bool:
        return held

    listed = say(f"the gateway lists it as {state}")
    found = await administrator_says(check="token", subject="token laptop", expected=listed, driver=FORGE, holds=holds)
    assert found.observed == (listed if held else f"it is not so that {listed}")
    assert found.answer is (Answer.ESTABLISHED if held else Answer.NOT_ESTABLISHED)
    korean = said(found.observed, Language.KO, SYSTEMS.words)
    assert "gateway" not in korean
    assert ("다음과 다름" in korean) is not held
