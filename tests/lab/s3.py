"""Amazon S3 for tests: moto's server, a process of its own, over a real socket.

What it cannot show: it keeps a checksum without comparing it, lets whoever asks shorten a retention in compliance mode
and switch off versioning under a lock, and does not lock what came in parts as it was told. Amazon's S3 does none of
that; a test that uses one of these as an attacker's hand says so.
"""

import itertools
import json
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3

from flows.demo.processes import child, environment, free_port, listens
from integrations.vault.s3 import S3
from playbooks.estate.systems import Secret

REGION = "eu-central-1"
_numbers = itertools.count(1)


class Moto:
    """The server as it runs.

    Args:
        port: that it listens on.
        folder: for secrets.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self.owner = self.client("s3")

    def client(self, service: str, access: str = "owner", secret: str = "owner") -> Any:  # noqa: ANN401, S107  # no types
        """Return a client of one of its services, as the account's owner or a user."""
        return boto3.session.Session().client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
        )

    def bucket(self, *, lock: bool = True, walls: bool = True, **more: Any) -> S3:  # noqa: ANN401  # other settings
        """Make a bucket, and return the settings of a vault in it."""
        name = f"evidence-{next(_numbers)}-{secrets.token_hex(3)}"
        where = {"LocationConstraint": REGION}
        self.owner.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock, CreateBucketConfiguration=where)
        if walls:
            every = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
            block = dict.fromkeys(every, True)
            self.owner.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
        return self.settings(name, "owner", "owner", **more)

    def settings(self, bucket: str, access: str, secret: str, **more: Any) -> S3:  # noqa: ANN401  # other settings
        """Return the settings of a vault in a bucket, by somebody's credentials."""
        places = {}
        for name, value in (("access", access), ("secret", secret)):
            file = self._folder / f"{name}-{access}"
            file.write_text(value, encoding="utf-8")
            file.chmod(0o600)
            places[f"{name}_key"] = Secret(file=str(file))
        given = {"bucket": bucket, "region": REGION, "lock": "30d", "endpoint": self.url, "prefix": "soar/"}
        return S3.model_validate({**given, **places, **more})

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Have it ask IAM whether a caller may, as far as it knows; without that it lets everybody do all."""
        before = self._judge(0)
        try:
            yield
        finally:
            self._judge(before)

    def _judge(self, after: float) -> float:
        asked = urllib.request.Request(  # noqa: S310  # ours
            f"{self.url}/moto-api/reset-auth",
            str(after).encode(),
            # As a form, which is what urllib makes of it, its body would be taken apart.
            {"Content-Type": "text/plain"},
            method="POST",
        )
        with urllib.request.urlopen(asked, timeout=60) as said:  # noqa: S310  # ours
            return float(json.load(said)["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"])

    def user(self, policy: dict[str, Any]) -> tuple[str, str]:
        """Make a user who may do what a policy says, and return the key."""
        iam, name = self.client("iam"), f"user-{next(_numbers)}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]


def missing() -> str:
    """Return why it cannot be started here; empty if it can."""
    lacking = [name for name in ("moto", "flask", "flask_cors") if find_spec(name) is None]
    return f"{', '.join(lacking)} not installed: `make test` installs what requirements/dev.txt has" if lacking else ""


@contextmanager
def moto(folder: Path) -> Iterator[Moto]:
    """Run it on a free loopback port.

    Args:
        folder: for its log, and for secrets.
    """
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with child(command, log=folder / "moto.log", ready=lambda: listens(port), within=60, env=environment()):
        yield Moto(port, folder)
