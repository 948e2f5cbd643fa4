"""What editors and assistants of the responder's machine run, by schedule: `flows.checks.clients` says all of it."""

from flows.checks.clients import CHECK
from flows.pages.checked import by_schedule

clients = by_schedule(CHECK)
