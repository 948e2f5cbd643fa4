"""How gateways and identity providers are set, by schedule: `flows.checks.configuration` says all of it."""

from flows.checks.configuration import CHECK
from flows.pages.checked import by_schedule

configuration = by_schedule(CHECK)
