"""Who reads what is sent to whom."""

from typing import Any

import pytest

from playbooks.people.contacts import Contacts, Way

CHANNELS = {"slack": {"bot_token": {"env": "X"}}, "email": {"host": "localhost", "sender": "soar@example.com"}}


@pytest.mark.parametrize(
    ("bob", "private"),
    [
        ({"email": "bob@example.com", "file": "out/bob"}, (Way.EMAIL, Way.FILE)),
        ({"email": "SOC@Example.com", "file": "out/bob"}, (Way.FILE,)),
        ({"email": "bob@example.com", "file": "./out/x/../ann/"}, (Way.EMAIL,)),
        ({"email": "soc@example.com", "slack": "U0BOB"}, ()),
        ({"email": "soc@example.com", "file": "out/bob", "slack": "U0BOB", "ways": ["slack"]}, ()),
    ],
    ids=["their own", "one mailbox", "one folder", "nothing private", "no private way wanted"],
)
def test_a_code_goes_only_where_no_other_approver_reads_it(bob: dict[str, Any], private: tuple[Way, ...]) -> None:
    ann = {"email": "soc@example.com", "file": "out/ann", "slack": "U0ANN", "ways": ["slack"]}
    contacts = Contacts.model_validate({"channels": CHANNELS, "contacts": {"ann": ann, "bob": bob}})
    assert contacts.private_to("bob", ["ann", "bob", "eve"]) == private
