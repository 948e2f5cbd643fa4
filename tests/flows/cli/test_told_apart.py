"""Doctor says of which tools no refusal can be told from a use, before an incident does."""

from typing import Any

from flows.cli.work.doctor_servers import told_apart
from playbooks.inventory import Dossier, Inventory, Pin, PinKind, Pins
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
    assert "safe_arguments" in line.remedy
    assert list(told_apart(inventory.model_copy(update={"pins": Pins()}), "lab")) == []
