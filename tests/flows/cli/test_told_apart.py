"""Doctor says of which tools no refusal can be told from a use, before an incident does."""

from typing import Any

from flows.cli.work.doctor_servers import told_apart
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.strict import digest

SCHEMAS: dict[str, Any] = {
    "a_anyof": {"type": "object", "properties": {"q": {"anyOf": [{"type": "string"}, {"type": "null"}]}}},
    "f_empty": {"type": "object", "properties": {}},
    "g_anything": {},
    "h_safe": {},
}


def test_a_tool_whose_schema_refuses_no_call_is_named_unless_people_know_a_safe_one() -> None:
    one = {"title": "Lab", "owner": "o", "environment": "test", "tools": {"h_safe": {"safe_arguments": {}}}}
    pins = tuple(
        Pin(
            kind=PinKind.TOOL,
            name=name,
            digest=digest(schema),
            definition={"name": name, "inputSchema": schema},
            dossier=Dossier(reviewed="all"),
        )
        for name, schema in SCHEMAS.items()
    )
    inventory = Inventory.model_validate({"version": 1, "servers": {"lab": one}})
    inventory = inventory.model_copy(update={"pins": Pins(servers={"lab": pins})})
    (line,) = told_apart(inventory, "lab")
    assert (line.check, line.level) == ("server lab", "warn")
    assert "f_empty, g_anything refuses no call" in line.message
    assert line.remedy == (
        "write servers.lab.tools.f_empty.safe_arguments, and for the others likewise, for a call that changes nothing"
    )
    (alone,) = told_apart(inventory.model_copy(update={"pins": Pins(servers={"lab": pins[1:2]})}), "lab")
    assert alone.remedy == "write servers.lab.tools.f_empty.safe_arguments for a call that changes nothing"
    assert list(told_apart(inventory.model_copy(update={"pins": Pins()}), "lab")) == []
