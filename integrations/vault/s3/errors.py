"""What boto3 and the store raise, as our errors: mapped here, once.

Source of the codes: Amazon S3 API reference, "Error responses"; those of other stores, their own documentation.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    InvalidConfigError,
    InvalidEndpointConfigurationError,
    MissingDependencyException,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ResponseStreamingError,
    SSLError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.exceptions import (
    ConnectionError as Unreachable,
)
from urllib3.exceptions import HTTPError

from integrations.vault import VaultFull
from integrations.vault.s3 import FIELD, GUIDE, S3
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.text.escaping import printable

_SAID = 300

_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"}
_STRANGER = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_ELSEWHERE = {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_LATER = {
    "429",
    "500",
    "502",
    "503",
    "504",
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "InvalidDigest",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_FULL = {"507", "InsufficientCapacity", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
_MISSING = {
    "404",
    "NoSuchKey",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchUpload",
    "NoSuchVersion",
    "NotFound",
    "ObjectLockConfigurationNotFoundError",
}
# Before what they are kinds of: an HTTPClientError is a BotoCoreError too.
_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
_OURS = (
    InvalidConfigError,
    InvalidEndpointConfigurationError,
    MissingDependencyException,
    ProxyConnectionError,
    SSLError,
)
_AWAY = (HTTPClientError, IncompleteReadError, ResponseStreamingError, Unreachable)


class Missing(Refused):
    """There is no object of that name, no such version of it, or no such setting."""


class Exists(Refused):
    """There is an object of that name already."""


class _Answer(NamedTuple):
    """An error as the store answers.

    Args:
        settings: of the bucket.
        said: its code and message, for people.
        message: as it came.
        operation: what was asked for.
        wanted: the permissions that it needs.
        region: where the bucket is, if it says so.
    """

    settings: S3
    said: str
    message: str
    operation: str
    wanted: tuple[str, ...]
    region: str


def _denied(it: _Answer) -> SoarError:
    # A newer answer names the permission that is missing.
    named = re.findall(r"\bs3:[A-Za-z]+\b", it.message) or list(it.wanted)
    what = " or ".join(dict.fromkeys(named))
    return Misconfigured(
        f"our account at {it.settings.place} may not {what}: grant it, as in {GUIDE} ({it.said})", field=FIELD
    )


def _elsewhere(it: _Answer) -> SoarError:
    message = (
        f"the bucket is in {it.region or 'another region'}, and not in {it.settings.region}: write that ({it.said})"
    )
    return Misconfigured(message, field=f"{FIELD}.region")


def _unlockable(it: _Answer) -> SoarError:
    if "lock" not in it.message.lower():
        return _refused(it)
    message = f"{it.settings.bucket} has no Object Lock: make a bucket that has it, as in {GUIDE} ({it.said})"
    return Misconfigured(message, field=f"{FIELD}.bucket")


def _refused(it: _Answer) -> SoarError:
    return Refused(f"{it.settings.place} refuses {it.operation}: {it.said}")


_MAKERS: tuple[tuple[set[str], Callable[[_Answer], SoarError]], ...] = (
    (_MISSING, lambda it: Missing(f"{it.settings.place}: {it.said}")),
    ({"PreconditionFailed"}, lambda it: Exists(f"{it.settings.place}: {it.said}")),
    (_FULL, lambda it: VaultFull(f"{it.settings.place} has no room: {it.said}")),
    (_LATER, lambda it: Transient(f"{it.settings.place} does not take it now: {it.said}")),
    (_STRANGER, lambda it: Misconfigured(f"{it.settings.place} does not know us: {it.said}", field=FIELD)),
    (
        {"RequestTimeTooSkewed"},
        lambda it: Misconfigured(
            f"our clock and that of {it.settings.place} differ: set ours ({it.said})", field=FIELD
        ),
    ),
    (_DENIED, _denied),
    (_ELSEWHERE, _elsewhere),
    (
        {"NoSuchBucket"},
        lambda it: Misconfigured(f"there is no bucket {it.settings.bucket}", field=f"{FIELD}.bucket"),
    ),
    ({"InvalidRequest", "InvalidArgument"}, _unlockable),
)
_MEANT = {code: make for codes, make in _MAKERS for code in codes}


@contextmanager
def translated(settings: S3, operation: str, wanted: tuple[str, ...]) -> Iterator[None]:
    """Turn what boto3 and the store raise into our errors.

    Args:
        settings: of the bucket.
        operation: what is asked for.
        wanted: the permissions that it needs.

    Raises:
        SoarError: as for `integrations.vault.s3.client.Bucket.call`.
    """
    place = settings.place
    try:
        yield
    except ClientError as exc:
        raise _meant(exc, settings, operation, wanted) from exc
    except _CREDENTIALS as exc:
        raise Misconfigured(f"no credentials for {place}: {_words(exc)}", field=FIELD) from exc
    except _OURS as exc:
        raise Misconfigured(f"{place} cannot be reached so: {_words(exc)}", field=FIELD) from exc
    except (*_AWAY, HTTPError, OSError) as exc:
        raise Transient(f"{place} does not answer ({type(exc).__name__})") from exc
    except BotoCoreError as exc:
        raise Refused(f"{place}: {operation} is not to be had: {_words(exc)}") from exc


def _meant(exc: ClientError, settings: S3, operation: str, wanted: tuple[str, ...]) -> SoarError:
    answer, meta = exc.response.get("Error", {}), exc.response.get("ResponseMetadata", {})
    code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))
    region = answer.get("Region") or (meta.get("HTTPHeaders") or {}).get("x-amz-bucket-region") or ""
    it = _Answer(settings, f"{code}: {printable(message, _SAID)}", message, operation, wanted, str(region))
    make = _MEANT.get(code) or _MEANT.get(str(meta.get("HTTPStatusCode"))) or _refused
    return make(it)


def _words(exc: Exception) -> str:
    return printable(str(exc), _SAID)
