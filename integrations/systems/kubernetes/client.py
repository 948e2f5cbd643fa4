"""The way into one cluster, by the official client; its errors are mapped here, once.

Objects are read and kept as the bytes that the API server sent: models of one version drop what another one added.
Source of paths and verbs: Kubernetes API reference v1.36.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import quote
from weakref import WeakValueDictionary

import yaml

from integrations import bounded
from integrations.hostile import printable
from integrations.http import LONGEST_WAIT
from integrations.sharing import Shared
from integrations.waiting import wait_of
from playbooks.errors import Drifted, Gone, Misconfigured, Refused, SoarError, Transient
from playbooks.text.sentences import say

if TYPE_CHECKING:
    from aiohttp import ClientResponse

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds that the API server has for an answer."""

MOST: Final = 16 * 1024 * 1024
"""Bytes of an answer that is read whole; what may be longer is read as a stream."""

_MOST_VALUES: Final = 4_000_000
"""JSON values of an answer: a page of a list has 500 objects, of some thousand each."""

_TOGETHER: Final = 120.0
"""Seconds for a question that many ask, however many pages its answer has; each page has its own."""

JSON: Final = "application/json"
NAMES: Final = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"
"""What is accepted of a list of which only names, labels and owners are read: objects are ten times as long."""

_MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
_SAID: Final = 500
_GUARDED: Final = re.compile(
    r"denied (?:the )?request|violates PodSecurity|exceeded quota|(?:maximum|minimum) \S+ usage per"
)
"""What a webhook, a ValidatingAdmissionPolicy, Pod Security, a ResourceQuota and a LimitRange say (v1.36)."""

_BUDGET: Final = re.compile(r"disruption ?budget", re.IGNORECASE)
"""What an eviction says that a budget does not allow, or that several select its pod."""

_UNKNOWN_TO_IT: Final = 401

_CHANNELS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_MESSAGE: Final = 1 << 20
"""Bytes of one message of a stream: a cluster sends 32 KiB at once."""


class Said(NamedTuple):
    """A piece of what a container says.

    Args:
        channel: 1 for its standard output, 2 for its errors, 3 for what the cluster says of the stream.
        data: the bytes.
    """

    channel: int
    data: memoryview


class Budgeted(Transient):
    """A PodDisruptionBudget does not let a pod be evicted now."""


class Api:
    """One cluster's API server, as one account.

    Args:
        name: what the inventory calls the cluster.
        kubeconfig: reads its text, and again where the cluster no longer takes what it said: tokens are renewed.
        context: which of its contexts; empty for the current one.
    """

    def __init__(self, name: str, kubeconfig: Callable[[], str], *, context: str = "") -> None:
        self.name = name
        self.patience = PATIENCE
        self._kubeconfig = kubeconfig
        self._context = context
        self._opening = asyncio.Lock()
        self._clients: dict[str, Any] = {}
        """By the text that each was opened with; the last is the present one, and what goes on with others may end."""

        self._together: WeakValueDictionary[object, Shared[Any]] = WeakValueDictionary()
        """What is being asked by somebody; an answer that nobody waits for any more is forgotten."""

    async def together(self, what: object, ask: Callable[[], Awaitable[T]]) -> T:
        """Return an answer to a question that was put after this was called, once for all who ask it by then.

        What is done about a hundred servers of a namespace at once asks for its lists a few times, not a hundred times.

        Args:
            what: tells the question from others.
            ask: puts it; nobody changes what it returns.

        Raises:
            SoarError: as the question does.
        """
        shared = self._together.get(what)
        if shared is None:
            shared = self._together[what] = Shared(ask, within=_TOGETHER)
        found: T = await shared()
        return found

    async def _opened(self, refused: object = None) -> Any:  # noqa: ANN401  # the library has no types
        """Return the present client; another one than the cluster refused, if its kubeconfig is another by now."""
        async with self._opening:
            present = next(reversed(self._clients.values()), None)
            if present is not None and present is not refused:
                return present
            found = await asyncio.to_thread(lambda: self._read_as(self._kubeconfig()))
            text = json.dumps(found)
            if text not in self._clients:
                # Its models take seconds to import: nobody who asks no cluster waits for that.
                self._clients[text] = await _client(self.name, await asyncio.to_thread(_library), found)
            return self._clients[text]

    def _read_as(self, text: str) -> dict[str, Any]:
        where = f"systems.{self.name}.kubeconfig"
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise Misconfigured(f"it is no YAML: {exc}", field=where) from exc
        if not isinstance(found, dict) or not found.get("clusters"):
            raise Misconfigured("it is no kubeconfig: it lists no clusters", field=where)
        contexts = [one.get("name") for one in found.get("contexts") or () if isinstance(one, dict)]
        context = self._context or found.get("current-context")
        if context not in contexts:
            known = ", ".join(map(str, contexts)) or "none"
            raise Misconfigured(f"it has no context {context!r}; it has: {known}", field=where)
        users = [_with_token(one, where) for one in found.get("users") or ()]
        return {**found, "users": users, "current-context": context}

    def bearing(self, token: str) -> "Api":
        """Return the same cluster as whoever bears a token; whoever takes it closes it.

        Args:
            token: a bearer token; it goes to this cluster and nowhere else.
        """

        def text() -> str:
            found = self._read_as(self._kubeconfig())
            (context,) = (one["context"] for one in found["contexts"] if one["name"] == found["current-context"])
            bearer = {"name": "bearer", "user": {"token": token}}
            there = {"name": "bearer", "context": {"cluster": context["cluster"], "user": "bearer"}}
            return json.dumps({**found, "users": [bearer], "contexts": [there], "current-context": "bearer"})

        bearing = Api(self.name, text, context="bearer")
        bearing.patience = self.patience
        return bearing

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        media_type: str = _MERGE,
        accept: str = JSON,
        patience: float | None = None,
    ) -> AsyncIterator["ClientResponse"]:
        """Yield the answer to a request, its body still to be read.

        Args:
            method: of HTTP.
            path: below the API server's address.
            query: what follows the path.
            body: what is sent, as JSON.
            media_type: of a patch's body.
            accept: as what the answer is wanted.
            patience: seconds that it has to begin an answer, where that is not as usual.

        Raises:
            SoarError: Transient if nobody answers in time, Gone if there is no such object, else what the answer says.
                Refused, and nothing is asked, if the path ends within a name that nobody quoted.
        """
        if {"?", "#"} & set(path):
            raise Refused(f"cluster {self.name}: {method} {path!r} is no path: nothing was asked")
        client = await self._opened()
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = media_type if method == "PATCH" else JSON
        what = f"cluster {self.name}: {method} {path}"
        question = {"query_params": list((query or {}).items()), "header_params": headers, "body": body}
        answer = await self._asked(client, what, method, path, question, patience=patience)
        if answer.status == _UNKNOWN_TO_IT and (renewed := await self._opened(client)) is not client:
            answer.release()
            answer = await self._asked(renewed, what, method, path, question, patience=patience)
        try:
            if answer.status >= 300:  # noqa: PLR2004  # HTTP
                raise _refusal(what, answer.status, await self._read(answer, what), answer.headers)
            yield answer
        finally:
            answer.release()

    @asynccontextmanager
    async def attached(self, path: str, query: Mapping[str, str], begin: bytes) -> AsyncIterator[AsyncIterator[Said]]:
        """Yield what a container that waits for a word says, once it has been told that word.

        Its standard input ends with the block, or with us. Source: Kubernetes, "WebSockets" of `pods/attach` (v5 of the
        subprotocol `channel.k8s.io`): the first byte of each message is its channel.

        Args:
            path: of the pod's `attach`.
            query: which container, and what of it.
            begin: the word, for its standard input.

        Raises:
            SoarError: as `ask` does.
        """
        what = f"cluster {self.name}: GET {path}"
        client = await self._opened()
        headers: dict[str, str] = {}
        await client.update_params_for_auth(headers, [], ["BearerToken"])
        rest = client.rest_client
        asked = {"params": {**query}, "headers": headers, "protocols": _CHANNELS, "max_msg_size": _MESSAGE}
        if rest.proxy:
            asked |= {"proxy": rest.proxy, "proxy_headers": rest.proxy_headers}
        try:
            async with asyncio.timeout(self.patience):
                socket = await rest.pool_manager.ws_connect(client.configuration.host + path, **asked)
                await socket.send_bytes(b"\0" + begin)
        except TimeoutError as exc:
            raise Transient(f"{what}: no answer within {self.patience:g} s") from exc
        except SoarError:
            raise
        except Exception as exc:
            raise _mapped(what, exc) from exc

        async def said() -> AsyncIterator[Said]:
            try:
                async for message in socket:
                    if isinstance(message.data, bytes) and message.data:
                        yield Said(message.data[0], memoryview(message.data)[1:])
            except Exception as exc:
                raise _mapped(what, exc) from exc

        try:
            yield said()
        finally:
            await socket.close()

    async def _asked(
        self,
        client: Any,  # noqa: ANN401  # the library has no types
        what: str,
        method: str,
        path: str,
        question: Mapping[str, Any],
        *,
        patience: float | None,
    ) -> "ClientResponse":
        patience = self.patience if patience is None else patience
        try:
            async with asyncio.timeout(patience):
                answer: ClientResponse = await client.call_api(
                    path,
                    method,
                    # The library changes the headers that it is given.
                    **{**question, "header_params": {**question["header_params"]}},
                    auth_settings=["BearerToken"],
                    _preload_content=False,
                    _return_http_data_only=True,
                )
        except TimeoutError as exc:
            raise Transient(f"{what}: no answer within {patience:g} s") from exc
        except OSError as exc:
            raise Transient(f"{what}: {exc}") from exc
        except Exception as exc:
            raise _mapped(what, exc) from exc
        return answer

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        media_type: str = _MERGE,
        patience: float | None = None,
    ) -> dict[str, Any]:
        """Return the object that a request is answered with; see `ask`.

        Raises:
            SoarError: as `ask` does, and if the answer is no object.
        """
        async with self.ask(method, path, query=query, body=body, media_type=media_type, patience=patience) as answer:
            raw = await self._read(answer, f"cluster {self.name}: {method} {path}")
        return self.read(raw, f"{method} {path}")

    async def refusal(self, path: str, body: object) -> str:
        """Return why the cluster would not make an object, as a dry run; nothing if it would.

        Args:
            path: of all objects of its kind.
            body: the object.

        Raises:
            Transient: it does not say.
        """
        try:
            await self.request("POST", path, query={"dryRun": "All"}, body=body)
        except Transient:
            raise
        except SoarError as exc:
            return str(exc)
        return ""

    def read(self, raw: bytes, what: str) -> dict[str, Any]:
        """Return the object that an answer is.

        Args:
            raw: the answer.
            what: was asked.

        Raises:
            Transient: it is none.
            Refused: it holds more than anybody reads.
        """
        found = bounded.parsed(raw, f"cluster {self.name}: {what}", most=_MOST_VALUES)
        if not isinstance(found, dict):
            raise Transient(f"cluster {self.name}: {what}: the answer is no object")
        return found

    async def raw(self, path: str, *, query: Mapping[str, str] | None = None, accept: str = JSON) -> bytes:
        """Return an object's bytes as the API server sent them; see `ask`."""
        async with self.ask("GET", path, query=query, accept=accept) as answer:
            return await self._read(answer, f"cluster {self.name}: GET {path}")

    async def _read(self, answer: "ClientResponse", what: str) -> bytes:
        found = bytearray()
        try:
            async with asyncio.timeout(self.patience):
                async for chunk in answer.content.iter_chunked(65_536):
                    found += chunk
                    if len(found) > MOST:
                        break
        except TimeoutError as exc:
            raise Transient(f"{what}: it broke off after {len(found)} bytes") from exc
        except Exception as exc:
            raise _mapped(what, exc) from exc
        if len(found) > MOST:
            raise Refused(f"{what}: the answer has more than {MOST} bytes")
        return bytes(found)

    async def who(self) -> str:
        """Return as whom we ask, as the cluster itself says (SelfSubjectReview).

        Raises:
            SoarError: it does not say.
        """
        return await self.together("who", self._who)

    async def _who(self) -> str:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        found = await self.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
        return str(found.get("status", {}).get("userInfo", {}).get("username", "")) or say("nobody")

    async def aclose(self) -> None:
        """Close what is open."""
        for client in self._clients.values():
            await client.close()


def path_of(prefix: str, namespace: str, resource: str, name: str = "", sub: str = "") -> str:
    """Return the path of objects of a namespace, or of one of them.

    Args:
        prefix: `/api/v1`, or `/apis/GROUP/VERSION`.
        namespace: where.
        resource: their plural.
        name: of the one.
        sub: a subresource of it.
    """
    parts = [prefix, "namespaces", quote(namespace, safe=""), resource, *([quote(name, safe="")] if name else [])]
    return "/".join([*parts, *([sub] if sub else [])])


def _with_token(user: Any, where: str) -> Any:  # noqa: ANN401  # whatever the file says
    """Return a user of a kubeconfig with the token that its file holds now: a kubelet writes it anew each hour."""
    has = user.get("user") if isinstance(user, dict) else None
    if not isinstance(has, dict) or "tokenFile" not in has:
        return user
    try:
        token = Path(str(has["tokenFile"])).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        raise Misconfigured(f"its tokenFile {has['tokenFile']} cannot be read: {exc}", field=where) from exc
    return {**user, "user": {"token": token, **{key: has[key] for key in has.keys() - {"token", "tokenFile"}}}}


def _library() -> Any:  # noqa: ANN401  # it has no types
    from kubernetes import aio  # noqa: PLC0415  # see where it is called
    from kubernetes.aio import client, config  # noqa: PLC0415

    return aio, client, config


async def _client(name: str, library: Any, text: dict[str, Any]) -> Any:  # noqa: ANN401  # likewise
    _, client, config = library
    configuration = client.Configuration()
    configuration.retries = 0
    try:
        await config.load_kube_config_from_dict(text, client_configuration=configuration)
    except Exception as exc:
        raise Misconfigured(f"the client cannot use it: {exc}", field=f"systems.{name}.kubeconfig") from exc
    made = client.ApiClient(configuration=configuration)
    # Nothing of the environment's: beside a password in somebody's ~/.netrc it sends no token, and asks nothing; and
    # each request would wait for two threads that look for one and for a proxy. A kubeconfig has `proxy-url` for that.
    made.rest_client.pool_manager._trust_env = False  # noqa: SLF001  # the library has no other way
    made.rest_client.pool_manager = _Staying(made.rest_client.pool_manager)
    return made


class _Staying:
    """The library's session, which goes nowhere that an answer sends it: what we ask holds tokens, and is believed.

    Args:
        session: of aiohttp.
    """

    def __init__(self, session: Any) -> None:  # noqa: ANN401  # of a library that is imported late
        self._session = session

    def request(self, **asked: Any) -> Any:  # noqa: ANN401  # as the library calls it
        """Ask once."""
        return self._session.request(**asked, allow_redirects=False)

    async def ws_connect(self, url: str, **asked: Any) -> Any:  # noqa: ANN401  # likewise
        """Begin a stream. aiohttp cannot be told to stay here: it takes no token along, and what it found is left."""
        found = await self._session.ws_connect(url, **asked)
        if found._response.history:  # noqa: SLF001  # the only place that says so
            await found.close()
            raise Refused("it sends us to another address, where we do not ask")
        return found

    async def close(self) -> None:
        """Close what is open."""
        await self._session.close()


def _mapped(what: str, exc: Exception) -> SoarError:
    """Return what an error of the client means."""
    status = getattr(exc, "status", None)
    if isinstance(status, int) and status:
        body = getattr(exc, "body", b"") or b""
        return _refusal(what, status, body if isinstance(body, bytes) else str(body).encode(), {})
    return Transient(f"{what}: {type(exc).__name__}: {exc}")


def _refusal(what: str, status: int, body: bytes, headers: Mapping[str, str]) -> SoarError:
    """Return what a status of the API server means (API conventions, "HTTP status codes")."""
    said = ""
    if isinstance(found := bounded.readable(body), dict):
        said = printable(_told(found), _SAID)
    else:
        # What a kubelet says through the API server is no object.
        said = printable(body.decode(errors="replace").strip(), _SAID)
    text = f"{what}: {status}" + (f": {said}" if said else "")
    if _GUARDED.search(said):
        # Whichever status it chose: asking again, or with more rights, changes nothing.
        return Refused(f"{text}: an admission rule of the cluster does not take it; have its owner let it through")
    if status == 404:  # noqa: PLR2004  # HTTP, here and below
        return Gone(text)
    if status in {401, 403}:
        return Misconfigured(f"{text}: give the account of its kubeconfig what doctor names, or renew its token")
    if status in {409, 422}:
        return Drifted(text)
    if status in {408, 429} or status >= 500:  # noqa: PLR2004
        sort = Budgeted if _BUDGET.search(said) else Transient
        return sort(text, retry_after=wait_of(headers.get("Retry-After"), longest=LONGEST_WAIT))
    return Refused(text + (": it sends us to another address, where we do not ask" if status < 400 else ""))  # noqa: PLR2004


def _told(status: dict[str, Any]) -> str:
    """Return what a refusal says; which budget refuses an eviction stands in its causes alone."""
    message, causes = str(status.get("message", "")), (status.get("details") or {}).get("causes") or ()
    if not _BUDGET.search(message):
        return message
    return " ".join([message, *(str(one.get("message", "")) for one in causes)])
