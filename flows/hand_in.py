"""What a Prefect worker may do: put a person's signed request into the inbox, and nothing else.

A worker is not trusted. It holds no signing key, no credential of a target and none that writes a stream: all that it
is given is `MCP_SOAR_INBOX`, the journal's address, on PostgreSQL under the insert-only role. Whether a request counts
is for the responder to judge, by its signature.
"""

import os

from prefect import flow

from integrations.journal.store import Journal
from playbooks.errors import Misconfigured, Refused
from playbooks.request import SignedRequest, Verb

INBOX = "MCP_SOAR_INBOX"


@flow(name="hand-in-request", retries=0, persist_result=False, log_prints=False)
async def respond(request: SignedRequest) -> str:
    """Hand in a signed request to respond.

    It expires ten minutes after it was signed and counts once. A request that nobody enrolled has signed is kept,
    refused, and does nothing.

    Args:
        request: the signed request, as JSON.

    Returns:
        The inbox's receipt. What became of it is in `mcp-soar incidents`.
    """
    if request.request.verb is not Verb.RESPOND:
        raise Refused(f"this deployment hands in requests to respond, not to {request.request.verb}")
    url = os.environ.get(INBOX, "")
    if not url:
        raise Misconfigured(f"the environment variable {INBOX} is not set: the journal's address, insert-only")
    # Without a signing key a journal can be read and put into, not written.
    async with await Journal.open(url, signer=None, name=f"worker-{os.getpid()}") as journal:
        receipt = await journal.put(
            kind="request",
            # Apart from what the command line puts: what is forged here cannot take a genuine request's place there.
            source="prefect",
            nonce=request.request.nonce,
            body=request.model_dump_json().encode(),
            headers={},
        )
    if receipt.conflict:
        raise Refused("another request was handed in under this nonce")
    return receipt.id
