"""What a Prefect worker may do: put a person's signed request, or their one-time code, into the inbox. Nothing else.

A worker is not trusted. It holds no signing key, no credential of a target and none that writes a stream: all that it
is given is `MCP_SOAR_INBOX`, the journal's address, on PostgreSQL under the insert-only role. Whether a request counts
is for the responder to judge, by its signature; what became of it is in the incident. Each flow here is a deployment of
`prefect.yaml`, and its docstring is the text of its form.
"""

import asyncio
import contextlib
import os
import secrets
import time
from datetime import UTC
from typing import Annotated, Any

from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from prefect.client.schemas.objects import State, StateType
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, WithJsonSchema

from flows.pages.waiting import LONG, PLAN, WAITING
from flows.service import workers
from integrations.hostile import printable
from integrations.journal.schema import WORKERS
from integrations.journal.store import Journal
from playbooks.errors import Misconfigured, Refused
from playbooks.people.code import CodeAnswer
from playbooks.people.request import SignedRequest, Verb
from playbooks.strict import Strict, canonical, now

INBOX = workers.INBOX

TAKEN_WITHIN = 20.0
"""Seconds to wait until a responder has taken an entry in."""

_SOURCE = WORKERS
"""Apart from what the command line puts: what is forged here cannot take a genuine request's place there."""


MOST = 20_000
"""Characters of a request; the longest that there can be is far shorter."""


def _read(value: object) -> object:
    """Return a pasted request as what it says; an object passes as it is."""
    if not isinstance(value, str):
        return value
    try:
        if len(value) > MOST:
            raise ValueError(f"more than {MOST} characters")  # noqa: TRY301  # said as everything else that is none
        return SignedRequest.model_validate_json(value)
    except ValueError as exc:
        message = "this is not a signed request: paste all that the command printed with --print, braces included"
        raise ValueError(message) from exc


Signed = Annotated[
    SignedRequest,
    BeforeValidator(_read),
    # Without a type: the form then shows a field for JSON, and takes what was pasted as it is; so does the command
    # line, as text or as what it says.
    WithJsonSchema(
        {
            "maxLength": MOST,
            "required": ["request", "signature"],
            "properties": {"request": {"type": "object"}, "signature": {"type": "string"}},
            "additionalProperties": False,
        }
    ),
]


class WithCode(Strict):
    """With a one-time code that was sent to you."""

    model_config = ConfigDict(title="With a one-time code")

    incident: str = Field(
        description="The incident's whole id, as inc-2026-000001.",
        pattern=r"^inc-[0-9]{4}-[0-9]{6,}$",
        title="Incident",
    )
    plan: str = Field(
        description="The plan that you answer: the first twelve digits of its digest, or all of it. It stands in the "
        "message with the code, in `mcp-soar incident`, and in the incident's artifact.",
        pattern=r"^(sha256:)?[0-9a-fA-F]{12,64}$",
        title="Plan",
    )
    person: str = Field(description="Your name, as you are enrolled.", min_length=1, max_length=200, title="Person")
    code: SecretStr = Field(
        description="The code, as 7K3M2-QX9AB. Which one it is decides what you answer: you were sent one to approve "
        "and one to deny. It counts once; five wrong ones end it.",
        title="One-time code",
    )


_ANSWER: TypeAdapter[WithCode] = TypeAdapter(WithCode)


@flow(name="respond", retries=0, persist_result=False, log_prints=False)
async def respond(request: Signed) -> State[Any]:
    """Start a response, or have an open incident tried again.

    A request that nobody enrolled has signed does nothing.

    Args:
        request: Paste what `mcp-soar respond --class tool_poisoning --tool SERVER/TOOL --print`, or
            `mcp-soar respond ID --print`, prints on your own machine, where your key is. It counts once, within ten
            minutes.
    """
    return await _hand_in(request, {Verb.RESPOND})


@flow(name="approve", retries=0, persist_result=False, log_prints=False)
async def approve(request: Signed) -> State[Any]:
    """Let a plan that waits be carried out.

    Read it first: the incident's artifact says what would be done to what, why it waits, what it would break and how
    it is undone. Your approval counts for that very plan. If the plan had to be made anew meanwhile, the run says which
    one is current.

    Args:
        request: Paste what `mcp-soar approve ID --print` prints on your own machine, where your key is. It counts once,
            within ten minutes.
    """
    return await _hand_in(request, {Verb.APPROVE})


@flow(name="deny", retries=0, persist_result=False, log_prints=False)
async def deny(request: Signed) -> State[Any]:
    """Say no to a plan that waits: it is not done, and everything stays as it is.

    Args:
        request: Paste what `mcp-soar deny ID --print` prints on your own machine, where your key is. It counts once,
            within ten minutes.
    """
    return await _hand_in(request, {Verb.DENY})


# Not validated by Prefect: what does not fit it writes into the worker's log whole, the code with it.
@flow(name="answer", retries=0, persist_result=False, log_prints=False, validate_parameters=False)
async def answer(answer: WithCode) -> State[Any]:
    """Approve or deny a plan that waits for you, with a one-time code: with your key, use *approve* or *deny*.

    Read it first: the incident's artifact says what would be done to what, why it waits, what it would break and how
    it is undone. Your answer counts for that very plan. If the plan had to be made anew meanwhile, the run says which
    one is current.

    Args:
        answer: The code, and what it answers.
    """
    try:
        given = _ANSWER.validate_python(answer)
    except ValidationError as exc:
        # Not its text: that quotes what was given. Nor may the code, which is still good, stay with the run.
        await _rename("an answer that cannot be one", {})
        return _said(f"this cannot be an answer: look at {_fields(exc)} again, nothing was handed in", good=False)
    return await _hand_code_in(given)


@flow(name="release", retries=0, persist_result=False, log_prints=False)
async def release(request: Signed) -> State[Any]:
    """Give back what an incident holds, exactly as it was before.

    It is refused while a definition differs from its approved one, unless you signed that you accept it.

    Args:
        request: Paste what `mcp-soar release ID --print` prints on your own machine, where your key is. It counts once,
            within ten minutes.
    """
    return await _hand_in(request, {Verb.RELEASE})


@flow(name="stop", retries=0, persist_result=False, log_prints=False)
async def stop(request: Signed) -> State[Any]:
    """Turn the kill switch on: no new containment begins, nothing is put back or released unattended.

    What is contained stays contained; evidence, messages and a person's release go on.

    Args:
        request: Paste what `mcp-soar stop SCOPE --reason TEXT --print` prints on your own machine, where your key is.
            SCOPE is everything, class:NAME, server:NAME or incident:ID. It counts once, within ten minutes.
    """
    return await _hand_in(request, {Verb.STOP})


@flow(name="resume", retries=0, persist_result=False, log_prints=False)
async def resume(request: Signed) -> State[Any]:
    """Turn the kill switch off. It takes two people: each signs, each submits this form.

    Args:
        request: Paste what `mcp-soar resume SCOPE --print` prints on your own machine, where your key is. It counts
            once, within ten minutes.
    """
    return await _hand_in(request, {Verb.RESUME})


@flow(name="hand-in", retries=0, persist_result=False, log_prints=False)
async def hand_in(request: Signed) -> State[Any]:
    """Hand in whatever you signed, when you need not look for the form that is called as the command is.

    Args:
        request: Paste what a command of `mcp-soar` prints with `--print` on your own machine, where your key is. It
            counts once, within ten minutes.
    """
    return await _hand_in(request, set(Verb))


async def _hand_in(signed: SignedRequest, verbs: set[Verb]) -> State[Any]:
    asked = signed.request
    if asked.verb not in verbs:
        wanted = " or ".join(sorted(verbs))
        return _said(
            f"this form hands in requests to {wanted}, and yours is to {asked.verb}: use the form for that, or hand-in",
            good=False,
        )
    if asked.expires_at < now():
        when = f"{asked.expires_at.astimezone(UTC):%H:%M:%S} UTC"
        return _said(f"your request to {asked.verb} expired at {when}: sign it anew, nothing was handed in", good=False)
    body = signed.model_dump_json().encode()
    said = f"{printable(asked.actor, 60)}'s request to {asked.verb}"
    await _rename(f"{asked.actor}: {asked.verb} {asked.subject}")
    return await _put("request", asked.nonce, body, said, await _other_plan(asked.subject, asked.digest))


async def _hand_code_in(given: WithCode) -> State[Any]:
    try:
        entry = CodeAnswer(
            incident=given.incident, digest=given.plan.lower(), actor=given.person, code=given.code.get_secret_value()
        )
    except ValidationError as exc:
        # As above; it was a code, so this run's parameters hold it too.
        await _rename(f"{given.person}: answer {given.incident}", {})
        return _said(f"this cannot be an answer: look at {_fields(exc)} again, nothing was handed in", good=False)
    said = f"{printable(given.person, 60)}'s one-time code for {given.incident}"
    other = await _other_plan(given.incident, given.plan)
    state = await _put("code", f"code-{secrets.token_urlsafe(24)}", canonical(entry), said, other)
    # It has done what it can; whoever reads the run later need not see it.
    await _rename(f"{given.person}: answer {given.incident}", {**given.model_dump(mode="json"), "code": "handed in"})
    return state


def _fields(exc: ValidationError) -> str:
    """Return what does not fit, by the fields' names alone; they come from outside too."""
    names = dict.fromkeys(str(fault["loc"][-1]) for fault in exc.errors(include_input=False) if fault["loc"])
    return printable(", ".join(names), 200) or "all of it"


async def _rename(name: str, answer: dict[str, Any] | None = None) -> None:
    """Give the run a name that says what it is about, and other parameters to show."""
    if not flow_run.id:
        return
    shown: dict[str, Any] = {"name": printable(name)}
    shown |= {"parameters": {"answer": answer}} if answer is not None else {}
    # Whatever Prefect's client raises: what counts is what was handed in.
    with contextlib.suppress(Exception):
        async with get_client() as client:
            await client.update_flow_run(flow_run.id, **shown)


async def _other_plan(incident: str, digest: str | None) -> str:
    """Return which plan is current if Prefect shows another one than is answered; only to tell, never to decide."""
    if digest is None:
        return ""
    key = ArtifactCollectionFilterKey(any_=[incident + PLAN])
    try:
        async with get_client() as client:
            found = await client.read_latest_artifacts(artifact_filter=ArtifactCollectionFilter(key=key))
    except Exception:  # noqa: BLE001  # whatever Prefect's client raises, the answer is handed in
        return ""
    waiting = (found[0].description or "").partition(WAITING)[2].split() if found else []
    mine = digest.lower().removeprefix("sha256:")[:LONG]
    if not waiting or mine in waiting:
        return ""
    current = "no plan" if waiting == ["none"] else f"plan {printable(', '.join(waiting))}"
    return f"you answered plan {mine}, but {current} is what waits in {printable(incident, 60)} now: answer anew"


async def _put(kind: str, nonce: str, body: bytes, said: str, other: str) -> State[Any]:
    url = os.environ.get(INBOX, "")
    if not url:
        raise Misconfigured(f"the environment variable {INBOX} is not set: the journal's address, insert-only")
    # Without a signing key a journal can be read and put into, not written.
    async with await Journal.open(url, signer=None, name=f"worker-{os.getpid()}") as journal:
        deadline, pause, before = time.monotonic() + TAKEN_WITHIN, 0.2, None
        while True:
            # The same entry again changes nothing, and says where it went: that is all that this role may read.
            receipt = await journal.put(kind=kind, source=_SOURCE, nonce=nonce, body=body, headers={})
            if receipt.conflict:
                raise Refused("another request was handed in under this nonce")
            # What was judged when it came is handed in a second time.
            before = receipt.incident is not None if before is None else before
            if receipt.incident is not None or time.monotonic() >= deadline:
                break
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 1.5)
    if other:
        return _said(f"{said} was handed in as {receipt.id}; {other}", good=False)
    if receipt.incident is None:
        return _said(
            f"{said} was handed in as {receipt.id}, and no incident has taken it in within {TAKEN_WITHIN:g} s: it was "
            "refused, or no responder runs. What became of it: mcp-soar incidents, mcp-soar doctor"
        )
    where = printable(receipt.incident.removeprefix("incident/"), 60)
    about = f"mcp-soar incident {where}" if receipt.incident.startswith("incident/") else "mcp-soar incidents"
    how = "had been handed in before, and counts once" if before else "was handed in and judged"
    return _said(f"{said} {how}. What became of it: {about}")


def _said(message: str, *, good: bool = True) -> State[Any]:
    get_run_logger().log(20 if good else 40, message)
    kind = StateType.COMPLETED if good else StateType.FAILED
    return State(type=kind, name="HandedIn" if good else "LookAgain", message=message)
