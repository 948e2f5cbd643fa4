"""The guide has the policy that the code needs, settings that can be read, and what `verify` says."""

import json
import re
import secrets
import shlex
from pathlib import Path
from typing import Any

import pytest

from flows.service.settings import Settings
from integrations.vault.s3 import FIELD, GUIDE, flaws, looking
from integrations.vault.s3.rights import policy
from playbooks.gate.policy import Retention
from playbooks.strict import parse_yaml
from tests.lab.s3 import Moto

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / GUIDE).read_text(encoding="utf-8")


def test_the_policy_is_what_is_called_and_no_more() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    bucket = settings().vault.s3
    assert bucket is not None
    assert block == json.dumps(policy(bucket), indent=2) + "\n"


def settings() -> Settings:
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    return parse_yaml(Settings, block, file=GUIDE)


def test_the_settings_are_read() -> None:
    assert settings().vault.s3 is not None
    assert FIELD == "vault.s3"


@pytest.mark.parametrize(
    "said", re.findall(r"`([a-z][^`]*?)(?: …|: …)?`(?=[;,| \n])", TEXT.split("verify` says |")[1].split("\n\n")[0])
)
def test_what_it_says_of_verify_is_what_verify_says(said: str) -> None:
    code = "".join(Path(str(one.__file__)).read_text(encoding="utf-8") for one in (flaws, looking))
    words = [word for word in said.replace("suspended", "").split(" … ") if word.strip()]
    assert all(word.strip() in code for word in words), said


def commands() -> list[tuple[str, dict[str, Any]]]:
    """Return what the guide has typed of `aws s3api`: the operation, and what it is asked with."""
    (block,) = re.findall(r"<!-- bucket: [^\n]* -->\n```\n(.*?)```", TEXT, re.DOTALL)
    lines = block.replace("\\\n", " ").strip().split("\n")
    return [(words[2].replace("-", "_"), _options(words[3:])) for words in map(shlex.split, lines)]


def _options(words: list[str]) -> dict[str, Any]:
    """Return options as the API takes them; one without a value is a yes (AWS CLI, "shorthand syntax")."""
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = "".join(part.capitalize() for part in word.removeprefix("--").split("-"))
            found[name] = True
        elif word.startswith("{"):
            found[name] = json.loads(word)
        elif "=" in word:
            pairs = (pair.split("=") for pair in word.split(","))
            found[name] = {key: {"true": True, "false": False}.get(value, value) for key, value in pairs}
        else:
            found[name] = word
    # Which service's address it is, and nothing that this is asked.
    found.pop("Region", None)
    return found


def test_the_bucket_that_the_guide_has_people_make_is_one_that_doctor_has_nothing_against(moto: Moto) -> None:
    found = commands()
    assert found[0][0] == "create_bucket"
    bucket = f"{found[0][1]['Bucket']}-{secrets.token_hex(4)}"
    for name, asked in found:
        getattr(moto.owner, name)(**{**asked, "Bucket": bucket})
    lines = looking.looked(moto.settings(bucket, "owner", "owner"))
    assert [line.level for line in lines] == ["ok"], lines


def test_the_guide_says_what_a_lock_is_against_retention() -> None:
    assert f"{Retention().keep / 86400:g} days" in TEXT
    bucket = settings().vault.s3
    assert bucket is not None
    assert bucket.lock < Retention().keep, "what the guide says of day 91 is about its own example"
