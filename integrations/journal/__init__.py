"""The journal's database: SQLite by default, PostgreSQL by its address."""

from integrations.journal.client import LostClaim, Tampered, Unsure
from integrations.journal.records import (
    Claim,
    Hold,
    InboxCount,
    InboxItem,
    Receipt,
    Reservation,
    Signer,
    Stop,
    StreamInfo,
    Watch,
)
from integrations.journal.store import Journal
from integrations.journal.tx import Tx

__all__ = [
    "Claim",
    "Hold",
    "InboxCount",
    "InboxItem",
    "Journal",
    "LostClaim",
    "Receipt",
    "Reservation",
    "Signer",
    "Stop",
    "StreamInfo",
    "Tampered",
    "Tx",
    "Unsure",
    "Watch",
]
