"""Whether somebody does the work of Prefect's forms and schedules, for `doctor`: asked of Prefect itself."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flows.cli.output import moment, span
from flows.service import workers
from flows.service.settings import Configuration
from integrations.hostile import printable
from integrations.secret import secret
from integrations.system import Looked
from playbooks.errors import SoarError

_WITHIN = 3.0
_LARGEST = 8 << 20
_FINISHED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
CHECK = "prefect.workers"


def seen(config: Configuration, api: str) -> Iterator[Looked]:
    """Yield what is to be said of the pools, their workers, and the schedules' last runs.

    Args:
        config: the configuration.
        api: where Prefect answers.
    """
    wanted = workers.wanted(config)
    try:
        ask = _Prefect(config, api)
        pools = {pool["name"] for pool in ask("/work_pools/filter") if pool["name"] in workers.POOLS}
        for pool in workers.POOLS:
            yield from _pool(config, ask, pool, here=pool in wanted, there=pool in pools)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SoarError) as exc:
        # What Prefect says is not trusted: at worst these lines are missing, and it says so.
        message = f"Prefect does not say how it stands ({printable(str(exc), 200)})"
        yield Looked(CHECK, "warn", message, "see whether prefect.auth is right, and its log")


def _pool(config: Configuration, ask: "_Prefect", pool: str, *, here: bool, there: bool) -> Iterator[Looked]:
    check = f"{CHECK} {pool}"
    work = "forms are" if pool == workers.REQUESTS else "schedules are"
    if here and (why := workers.lacking(config, pool)):
        yield Looked(check, "warn", f"nobody does its work, so no {work} carried out: {why}", "as it says")
        return
    begun = workers.begun(config.folder, pool) if here else None
    alive = _alive(ask, pool, begun) if there else None
    if alive is None:
        if here:
            remedy = "`mcp-soar up` starts one; it says why not, and state/logs/ has its log"
            yield Looked(check, "warn", f"no worker is alive, so no {work} carried out", remedy)
        else:
            message = f"`up` runs none here (prefect.pools), and none is known elsewhere: no {work} carried out"
            yield Looked(check, "ok" if not config.settings.prefect.api else "warn", message)
        return
    name, heard = alive
    deployed = [one for one in ask("/deployments/filter") if one.get("work_pool_name") == pool]
    names = ", ".join(sorted(printable(one["name"], 40) for one in deployed)) or "nothing is deployed"
    yield Looked(check, "ok", f"{printable(name, 60)} was heard of {span(heard)} ago; {names}")
    for one in deployed:
        if one.get("schedules"):
            yield _schedule(ask, one)


def _alive(ask: "_Prefect", pool: str, begun: tuple[bool, datetime] | None) -> tuple[str, float] | None:
    """Return the worker that was heard of last, and how many seconds ago; None if none is alive.

    Args:
        ask: asks Prefect.
        pool: whose.
        begun: whether this machine's own one runs, and since when, if it left word: Prefect takes one that died for
            alive for minutes, and its successor has its name.
    """
    online = [one for one in ask(f"/work_pools/{pool}/workers/filter") if one["status"] == "ONLINE"]
    if begun is not None:
        runs, since = begun
        ours = workers.name_of(pool)
        online = [
            one
            for one in online
            if one["name"] != ours or (runs and one["last_heartbeat_time"] and _at(one["last_heartbeat_time"]) >= since)
        ]
    heard = [(_at(one["last_heartbeat_time"]), str(one["name"])) for one in online if one["last_heartbeat_time"]]
    if not heard:
        return None
    last, name = max(heard)
    return name, max(0.0, (datetime.now(UTC) - last).total_seconds())


def _schedule(ask: "_Prefect", one: dict[str, Any]) -> Looked:
    check = f"schedule {printable(one['name'], 40)}"
    if one.get("paused") or not any(schedule["active"] for schedule in one["schedules"]):
        return Looked(check, "warn", "somebody paused it in Prefect", "resume it there")
    runs = ask(
        "/flow_runs/filter",
        {
            "flow_runs": {"deployment_id": {"any_": [one["id"]]}, "state": {"type": {"any_": _FINISHED}}},
            "sort": "START_TIME_DESC",
            "limit": 1,
        },
    )
    if not runs:
        return Looked(check, "ok", "it has not run yet")
    run = runs[0]
    when = moment(_at(run["end_time"])) if run.get("end_time") else "-"
    if run["state_type"] == "COMPLETED":
        return Looked(check, "ok", f"its last run ended well at {when}")
    said = printable(str((run.get("state") or {}).get("message") or run["state_type"]), 300)
    return Looked(check, "warn", f"its last run ended {str(run['state_type']).lower()} at {when}: {said}", "as it says")


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


class _Prefect:
    """Asks Prefect's API.

    Args:
        config: says with which password.
        api: its address.
    """

    def __init__(self, config: Configuration, api: str) -> None:
        self._api = api.rstrip("/")
        given = config.settings.prefect
        if given.api is not None:
            auth = secret(given.auth, what="prefect.auth") if given.auth else ""
        else:
            file = config.folder / "state" / "prefect" / "auth"
            auth = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        self._headers = {"Content-Type": "application/json"}
        if auth:
            self._headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __call__(self, path: str, body: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        if not self._api.startswith(("http://", "https://")):
            raise ValueError("its address is none of the web")
        request = urllib.request.Request(  # noqa: S310  # one of these two
            self._api + path, json.dumps(body or {}).encode(), self._headers, method="POST"
        )
        try:
            with self._opener.open(request, timeout=_WITHIN) as answer:
                found = json.loads(answer.read(_LARGEST))
        except urllib.error.HTTPError as exc:
            exc.close()
            if exc.code == 404:  # noqa: PLR2004  # there is no such pool
                return []
            raise
        if not isinstance(found, list):
            raise TypeError("it answers otherwise than it should")
        return found
