"""The examples that `init` writes beside the configuration: nothing reads them until somebody makes them their own."""

from datetime import datetime

from flows.cli.output import moment

_ALERT = """\
{
  "version": 1,
  "id": "first-try",
  "rule": "Tool description changed",
  "severity": "high",
  "title": "The description of get_weather asks for a key file",
  "tags": ["tool_poisoning"],
  "detected_at": "AT",
  "entities": [
    {"kind": "server", "name": "weather"},
    {"kind": "tool", "name": "get_weather", "server": "weather"}
  ]
}
"""

_PLAYBOOK = """\
# An example: what to do when a server passes itself off as another. It is in use once it is called
# server_spoofing.yaml, instead of a shipped playbook for the same class.
#
#   mcp-soar playbooks lint                                          # each fault with its line
#   mcp-soar plan --class server_spoofing --server weather           # what it would do now; changes nothing
#
# `mcp-soar playbooks steps` says which actions, captures and checks there are; docs/write-a-playbook.md the rest.
version: 2
# The file's name, without .yaml.
id: server_spoofing
# A class of the taxonomy; one playbook answers each.
class: server_spoofing
title: A server passes itself off as another
summary: >-
  Take the server's entry away from every client of the gateway, prove it, keep what it offered and what the gateway
  knows of it, and give it back only when a person says so.
# How fast it ought to be; shown beside what was measured.
goals:
  first_effect: 5s
  verified: 2m

# Checks of our own that confirm an alert.
confirm: []

# Every phase is written, an empty one as []. Steps of one phase run in this order where they are about the same thing.
phases:
  freeze: []

  cut:
    - id: cut-server
      action: gateway.disable_server
      # Once for each server of the incident, which is its parameter `server`; `with` says what else there is to say.
      for: server
      # Every tool has a server: only where the server was named itself.
      when: named
      # After this it is extended, and somebody is paged; nothing is given back by itself.
      lease: 24h
      # For those who review the playbook, and those who are asked to approve the step.
      why: Whatever it offers was approved for another server, so none of it can stay.

  capture:
    - id: capture-definitions
      capture: mcp.capture_definitions
      for: server
      why: What it offers beside what was approved shows how it passed itself off.

  isolate: []

  preserve:
    # Steps that many playbooks share, written once: here those of playbooks/catalog/shared/gateway-records.yaml.
    - use: gateway-records

  eradicate: []

  recover:
    # What a person does; it holds nothing up.
    - id: release-server
      task: Point the entry at the right server again, then release it with `mcp-soar release`.
      until: released
      why: Only people know which of the two is the right one.

  review: []

# Of what people are told.
notify: [opened, awaiting_approval, contained, not_established, released, closed]
"""


def examples(at: datetime) -> dict[str, str]:
    """Return the examples by file.

    Args:
        at: now, for what the alert says that it saw.
    """
    return {
        "alert.example.json": _ALERT.replace('"AT"', f'"{moment(at)}"'),
        "playbooks/server_spoofing.yaml.example": _PLAYBOOK,
    }
