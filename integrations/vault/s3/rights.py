"""The least that an account needs at a bucket: what is called there, and nothing else."""

from typing import Any, Final

from integrations.vault.s3 import S3
from integrations.vault.s3.client import PERMISSIONS

_BUCKET: Final = ("s3:GetBucket", "s3:ListBucket")
"""What permissions begin with that are about the bucket; the others are about what is in it."""


def policy(settings: S3) -> dict[str, Any]:
    """Return the IAM policy of the account by which mcp-soar keeps evidence in a bucket."""
    every = sorted({one for wanted in PERMISSIONS.values() for one in wanted})
    whole = [one for one in every if one.startswith(_BUCKET)]
    arn = f"arn:aws:s3:::{settings.bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": whole, "Resource": arn},
            {
                "Effect": "Allow",
                "Action": [one for one in every if one not in whole],
                "Resource": f"{arn}/{settings.prefix}*",
            },
        ],
    }
