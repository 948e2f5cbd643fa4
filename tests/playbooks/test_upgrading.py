"""An inventory of an earlier release is rewritten: it says the same, and each remark and quote of people stays."""

import json

import pytest
from hypothesis import given

from playbooks.errors import Refused
from playbooks.estate.upgrading import Upgraded, upgraded
from tests.playbooks.test_earlier import EARLIER, both, read

BY_HAND = """\
# Ours. {do not touch}
version: 1   # the format
# The gateways.
gateways:   # two of them
    main: { kind: contextforge, url: 'https://g.example.com', user: "soar@example.com",   # the administrator
            password: {file: secrets/main-password},
            canary: {principal: c@example.com, token: {file: secrets/canary}, url: "https://g.example.com/mcp/"} }

servers:
      weather:   # Ann's
          title: "Weather # 1"
          # Behind the gateway.
          gateway: {name: main, id: 'e#1'}   # since May
          owner: ann
          environment: test
      mail:
          title: Mail
          gateway:
              # its entry
              id: "2"
              name: main   # the only one
          owner: ann
          environment: test
          # control_tool: add
      past: {title: P, owner: ann, environment: dev, gateway: null}

principals:
  agent:
    title: Agent
    # Who knows it.
    gateway: main   # for now
    # Its address.
    user: agent@example.com
    protected: true
    tokens:   # two
      laptop: t-1   # Ann's
      # the second one
      "desk": 't-2'

    held: {laptop: {file: secrets/agent}}
    aliases: [bot]
  bob: {title: Bob, gateway: main, user: bob@example.com, tokens: {a: t-3}}   # flows
  eve: {user: eve@example.com, title: Eve, gateway: main}

# The end.
"""


def test_everything_that_people_wrote_is_still_there() -> None:
    done = upgraded(BY_HAND, file="inventory.yaml")
    assert read(done.text) == read(BY_HAND)
    assert done.lost == ()
    assert done.done == (
        "gateways → systems",
        "servers.weather.gateway → servers.weather.places",
        "servers.mail.gateway → servers.mail.places",
        "servers.past.gateway → servers.past.places",
        "principals.agent.gateway → principals.agent.places",
        "principals.bob.gateway → principals.bob.places",
        "principals.eve.gateway → principals.eve.places",
    )
    assert (
        """
          # Behind the gateway.
          places: {main: {id: 'e#1'}}   # since May
"""
        in done.text
    )
    assert (
        """
    # Who knows it.
    places:   # for now
      main:
        # Its address.
        user: agent@example.com
        tokens:   # two
          laptop: t-1   # Ann's
          # the second one
          "desk": 't-2'
        held: {laptop: {file: secrets/agent}}
"""
        in done.text
    )
    assert "bob: {title: Bob, places: {main: {user: bob@example.com, tokens: {a: t-3}}}}   # flows" in done.text
    unchanged = [line for line in BY_HAND.splitlines() if line in done.text.splitlines()]
    assert {"# Ours. {do not touch}", "version: 1   # the format", "# The end.", "          # control_tool: add"} <= {
        *unchanged
    }


def test_what_is_written_so_already_stays_as_it_is() -> None:
    text = upgraded(EARLIER, file="inventory.yaml").text
    assert upgraded(text, file="inventory.yaml") == Upgraded(text)


def test_what_init_wrote_has_room_for_what_an_import_adds() -> None:
    done = upgraded("version: 1\n\n# Gateways.\ngateways: {}\n#  main:\n\nservers: {}\n", file="inventory.yaml")
    assert done.text == "version: 1\n\n# Gateways.\nsystems: {}\n#  main:\n\nservers: {}\n"


def test_line_ends_stay() -> None:
    text = upgraded(BY_HAND.replace("\n", "\r\n"), file="inventory.yaml").text
    assert text.count("\n") == text.count("\r\n")
    assert read(text) == read(BY_HAND)


def test_a_remark_without_a_place_is_named() -> None:
    text = EARLIER.replace("gateway: main, user:", "gateway: main,\n    # whose\n    user:")
    done = upgraded(text, file="inventory.yaml")
    assert read(done.text) == read(EARLIER)
    assert done.lost == ("# whose",)


@pytest.mark.parametrize(
    ("instead", "by"),
    [
        ("servers:", "systems: {edge: {kind: shed}}\nservers:"),
        ("    gateway: {name: main, id: g-1}\n", "    gateway: {name: main, id: g-1}\n    places: {other: {}}\n"),
    ],
)
def test_what_has_both_is_left_to_people(instead: str, by: str) -> None:
    with pytest.raises(Refused, match="by hand"):
        upgraded(EARLIER.replace(instead, by), file="inventory.yaml")


@given(both())
def test_whatever_is_rewritten_says_the_same(forms: tuple[dict[str, object], dict[str, object]]) -> None:
    kept = {key: value for key, value in forms[0].items() if value or key not in {"gateways", "systems"}}
    was, now = json.dumps(kept, indent=1), json.dumps(forms[1])
    if forms[0]["gateways"] and forms[0]["systems"]:
        with pytest.raises(Refused, match="`systems`"):
            upgraded(was, file="inventory.yaml")
        return
    assert read(upgraded(was, file="inventory.yaml").text) == read(now)
