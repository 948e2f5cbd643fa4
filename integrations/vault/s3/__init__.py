"""The vault in an S3 bucket with Object Lock in compliance mode.

    <prefix><incident>/<exhibit id>/exhibit.json         the record, canonical bytes; put last, and once
    <prefix><incident>/<exhibit id>/<attempt>/<name>     the evidence, raw; the record names object and version

An exhibit is there when its record is. Files grow as uploads that are no object before the seal, under a name that each
attempt has for itself: what a process that died had begun is none of anybody's evidence, and in nobody's way.
"""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from playbooks.estate.systems import Secret
from playbooks.strict import Name, Seconds, Strict

FIELD = "vault.s3"
"""Where the bucket stands in mcp-soar.yaml."""

GUIDE = "docs/keep-evidence-on-s3.md"
MODE: Final = "COMPLIANCE"
"""The lock's mode: in the other one, whoever may has only to say that he means it."""

VARIABLES: Final = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
"""What of an environment boto3 takes for a credential, where none is configured."""

_DAY = 86400.0


class S3(Strict):
    """A bucket with Object Lock, as evidence is kept in it.

    Args:
        bucket: its name.
        region: where it is.
        lock: how long nobody can delete what is sealed, not even who owns the account; from a day to a hundred years.
            There is no default, for nobody can take it back.
        prefix: what all names in it begin with; empty, or ending in a slash.
        owner: the account that owns the bucket: another one's of that name is refused.
        endpoint: of another store that speaks S3; none for Amazon's.
        access_key: the key's id, if it is not found as boto3 finds it: environment, profile, role of the machine.
        secret_key: the key, likewise.
    """

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: Name
    lock: Seconds = Field(ge=_DAY, le=36_500 * _DAY)
    prefix: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]*/)*$", max_length=200)] = ""
    owner: Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")] | None = None
    endpoint: Name | None = None
    access_key: Secret | None = None
    secret_key: Secret | None = None

    @field_validator("endpoint")
    @classmethod
    def _in_private(cls, endpoint: str | None) -> str | None:
        if endpoint is not None:
            parts = urlsplit(endpoint)
            if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
                message = "evidence would go there in the clear; write https://"
                raise ValueError(message)
        return endpoint

    @model_validator(mode="after")
    def _both(self) -> "S3":
        if (self.access_key is None) != (self.secret_key is None):
            message = "write access_key and secret_key, or neither"
            raise ValueError(message)
        return self

    @property
    def secrets(self) -> dict[str, Secret]:
        """Where its secrets are, by field."""
        named = {f"{FIELD}.access_key": self.access_key, f"{FIELD}.secret_key": self.secret_key}
        return {field: place for field, place in named.items() if place is not None}

    @property
    def place(self) -> str:
        """Where evidence lies, for people."""
        return f"s3://{self.bucket}/{self.prefix}"
