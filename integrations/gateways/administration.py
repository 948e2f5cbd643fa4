"""An administrator's requests to a gateway, whichever product it is: let in, answered, refused; lists to their end."""

import asyncio
import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

import httpx

from integrations import bounded
from integrations.hostile import printable
from integrations.http import AT_ONCE, TIMEOUT, Answer, Request, connecting, refusal, send
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.estate.gateway import Gateway

Fields = Mapping[str, Any]

_MOST: Final = 20_000
"""Entries of a list that is read by pages."""

_MOST_OBJECTS: Final = 100_000
"""Entries of one answer."""

_SECRET = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|(?i:bearer)\s+\S+")


class Administration:
    """The administrator's requests.

    Args:
        name: what the inventory calls the gateway.
        gateway: its address and user.
        password: that user's; where nobody signs in, the key that goes along with every request.
        headers: that go along, too.
    """

    root: ClassVar[str] = ""
    """What every path is below."""
    login: ClassVar[str] = ""
    """Where one signs in; empty if nobody does."""
    page: ClassVar[int]
    """Entries of one page: as many as it gives."""
    missing: ClassVar[tuple[str, ...]] = ("not found",)
    """How a 404 reads that is about an object, and not about a path."""

    def __init__(self, name: str, gateway: Gateway, password: str, headers: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.gateway = gateway
        self.patience = TIMEOUT
        """Seconds for one request."""
        self.session = "" if self.login else password
        """What it let us in with; empty before."""
        self._password = password
        self._signing_in = asyncio.Lock()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._http = connecting(gateway.url, headers, base=gateway.url.rstrip("/") + self.root)

    @property
    def account(self) -> str:
        """Whom we sign in as, for messages: they mask e-mail addresses, and this one is what has to be looked up."""
        return self.gateway.user.replace("@", " at ")

    def placeholder(self, known: Collection[str]) -> bool:
        """Return whether the password is one of some that anybody would try first; it is not tried here."""
        return self._password.casefold() in known

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # What a product has of its own

    def _presented(self) -> Mapping[str, str]:
        """Return what is sent to sign in."""
        raise NotImplementedError

    def _begun(self, answer: Answer) -> str:
        """Return the session that an answer begins."""
        raise NotImplementedError

    def _with(self, method: str) -> Mapping[str, str]:
        """Return the headers by which a request belongs to the session."""
        del method
        return {"Authorization": f"Bearer {self.session}"} if self.session else {}

    def _meant(self, answer: Answer, said: str, message: str) -> SoarError | None:
        """Return what only this product means by a no; None if it means what everybody does.

        Args:
            answer: the no.
            said: its words.
            message: what was asked, and those words.
        """

    @property
    def _barred(self) -> str:
        """Why we may not do what we may not do, and what mends it."""
        raise NotImplementedError

    # Asking

    async def sign_in(self, stale: str = "") -> str:
        """Sign in, unless somebody did since a session; return the present one.

        Logins are slow, and rate-limited: whoever waits while another signs in takes that one's session.

        Args:
            stale: the session that is over.
        """
        async with self._signing_in:
            if not self.session or self.session == stale:
                self.session = ""
                self._http.cookies.clear()
                self.session = self._begun(await self._let_in())
            return self.session

    async def _let_in(self) -> Answer:
        answer = await self.send(Request("POST", self.login, json=self._presented()))
        if answer.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise self._meant(answer, _said(answer), "") or Misconfigured(
                f"gateway {self.name} does not accept the password of {self.account}; mend the secret that"
                f" systems.{self.name}.password names"
            )
        if not answer.success:
            raise self._error("POST", self.login, answer)
        return answer

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        missing_ok: bool = False,
        already: str = "",
        within: float | None = None,
    ) -> Any:  # noqa: ANN401  # each endpoint's own JSON
        """Send one request as the administrator and return its JSON.

        Args:
            method: the HTTP method.
            path: below `root`.
            params: of the query.
            body: as JSON.
            missing_ok: return None when the gateway has no such object.
            already: how a refusal reads that says that it is so already, which is no error.
            within: seconds that it may take; `patience` if None.

        Raises:
            Transient: it did not answer, is busy, or broke.
            Refused: it said no.
            Misconfigured: our account may not do this.
        """
        session = self.session or await self.sign_in()
        asked = Request(method, path, params, body)
        answer = await self.send(asked, within=within)
        if answer.status == httpx.codes.UNAUTHORIZED and self.login:
            await self.sign_in(session)
            answer = await self.send(asked, within=within)
        if answer.success:
            return bounded.parsed(answer.raw, f"gateway {self.name}: {method} {path}") if answer.raw else None
        text = answer.text.lower()
        missing = answer.status == httpx.codes.NOT_FOUND and any(words in text for words in self.missing)
        if (missing and missing_ok) or (already and already in text):
            return None
        raise self._error(method, path, answer)

    async def send(
        self, request: Request, *, within: float | None = None, over: httpx.AsyncClient | None = None
    ) -> Answer:
        """Send one request as it is, and return whatever came back.

        Args:
            request: what is asked; its own headers go before those of the session.
            within: seconds that it may take; `patience` if None.
            over: connections beside ours, for which nobody waits.
        """
        return await send(
            over or self._http,
            f"gateway {self.name}",
            request._replace(headers={**self._with(request.method), **request.headers}),
            within=within or self.patience,
            turns=self._turns if over is None else None,
        )

    async def fields(self, method: str, path: str, **how: Any) -> Fields | None:  # noqa: ANN401  # as `request` has them
        """Send one request whose answer is an object; None where there is none and that is taken."""
        found = await self.request(method, path, **how)
        if found is not None and not isinstance(found, dict):
            raise Refused(f"gateway {self.name}: {method} {path} answered no object")
        return found

    async def objects(self, path: str, params: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the entries of a list that has no pages."""
        return self.entries(path, await self.request("GET", path, params=params))

    async def listed(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        under: str = "items",
        size: str = "page_size",
        most: int = _MOST,
    ) -> list[dict[str, Any]]:
        """Return the entries of a list that has numbered pages.

        Args:
            path: of the list.
            params: what is asked for.
            under: the field of an answer that has the entries.
            size: what the parameter is called that says how many a page has.
            most: entries that are read.
        """
        found: list[dict[str, Any]] = []
        full = min(self.page, most)
        for number in range(1, most // full + 2):
            answer = await self.fields("GET", path, params={**(params or {}), "page": str(number), size: str(full)})
            items = self.entries(path, (answer or {}).get(under))
            found += items
            # Its own total is not believed: a page that is not full is the last one.
            if len(items) < full or len(found) >= most:
                break
        return found[:most]

    def entries(self, path: str, found: object) -> list[dict[str, Any]]:
        """Return the objects of a list that was answered.

        Raises:
            Refused: it is no list of objects, or longer than any.
        """
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise Refused(f"gateway {self.name}: GET {path} answered no list of objects")
        if len(found) > _MOST_OBJECTS:
            raise Refused(f"gateway {self.name}: GET {path} answered {len(found)} objects, more than {_MOST_OBJECTS}")
        return found

    def _error(self, method: str, path: str, answer: Answer) -> SoarError:
        said = _said(answer)
        message = f"gateway {self.name}: {method} {self.root}{path} answered {answer.status}: {said}"
        barred = f"{self._barred}; `mcp-soar doctor` says what it lacks" if answer.status in {401, 403} else ""
        # 409: another writer holds the row, or changed it since it was read.
        return self._meant(answer, said, message) or refusal(message, answer, busy={409}, barred=barred)


def _said(answer: Answer) -> str:
    """Return what a refusal says, without what lets in: its `detail`, `error` or `message`, where it has one."""
    found = bounded.readable(answer.text.encode())
    for key in ("detail", "error", "message"):
        if isinstance(found, dict) and found.get(key) is not None:
            found = found[key]
    return printable(_SECRET.sub("[secret]", found if isinstance(found, str) else answer.text))[:300]
