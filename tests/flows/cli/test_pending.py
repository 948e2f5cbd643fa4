"""`doctor` says of what people asked for that it is not in force while nobody has taken it up."""

from tests.flows.cli.world import Installation, opened


def test_doctor_names_a_stop_that_nobody_has_taken_up(site: Installation) -> None:
    site.append(opened())
    before = site.json("doctor", code=1)["checks"]
    assert [line["level"] for line in before if line["check"] == "responder"] == ["ok"]
    assert site.json("stop", "everything", "--reason", "look first", "--as", "sam", "--no-wait")

    (pending,) = [line for line in site.json("doctor", code=1)["checks"] if line["check"] == "responder"]
    assert pending["level"] == "fail"
    assert "sam's request to stop everything waits; it is NOT in force" in pending["message"]
    assert "mcp-soar up" in pending["remedy"]

    with site.responder():
        assert site.json("stop", "server:weather", "--reason", "so that it is taken in", "--as", "sam")
    after = site.json("doctor", code=1)["checks"]
    assert [line["level"] for line in after if line["check"] == "responder"] == ["ok"]
    assert any("everything is stopped by sam" in line["message"] for line in after)
