"""The W&B server, asked before a run begins: whether it is there and takes the key."""

import json
import logging
import netrc
import os
import ssl
from base64 import b64encode
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from kasoku.training.background import in_background

log = logging.getLogger("kasoku")

PATIENCE = 1.0  # seconds for the server to answer before the run goes offline
QUESTION = {"query": "query { viewer { id } }"}
WHY = "W&B: %s, going on offline"


def decided(mode: str) -> str:
    """online, offline or disabled: `mode` as far as a key and the server allow it; what is in the way is said.

    WANDB_MODE decides for auto.
    """
    wanted = (os.environ.get("WANDB_MODE") if mode == "auto" else mode) or ""
    if wanted not in ("", "online", "run"):
        return wanted
    if not has_credentials():
        if wanted:
            log.warning(WHY, f"no key for {_host()} is configured: wandb login, or WANDB_API_KEY")
        return "offline"
    if reason := refusal():
        log.warning(WHY, reason)
        return "offline"
    return "online"


def server() -> str:
    return (os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").rstrip("/")


def has_credentials() -> bool:
    return key() is not None or bool(os.environ.get("WANDB_IDENTITY_TOKEN_FILE"))


def key() -> str | None:
    """The key for the server, from WANDB_API_KEY or netrc."""
    if given := os.environ.get("WANDB_API_KEY"):
        return given
    path = os.environ.get("NETRC") or str(Path.home() / (".netrc" if os.name != "nt" else "_netrc"))
    try:
        found = netrc.netrc(path).authenticators(_host())
    except (OSError, netrc.NetrcParseError):
        return None
    return found[2] if found else None


def refusal() -> str:
    """The reason why the server would take nothing, "" if none shows within PATIENCE.

    In a thread, for a name can take longer than that to resolve.
    """
    try:
        return in_background(_answer, key()).result(PATIENCE)
    except TimeoutError:
        return f"{_host()} does not answer within {PATIENCE:g} s"


def _answer(key: str | None) -> str:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = "Basic " + b64encode(f"api:{key}".encode()).decode()
    request = Request(f"{server()}/graphql", json.dumps(QUESTION).encode(), headers)
    refuses = f"{_host()} refuses the key"
    try:
        with urlopen(request, timeout=PATIENCE) as answer:
            viewer = json.loads(answer.read(100_000))["data"]["viewer"]
            return "" if viewer or not key else refuses
    except HTTPError as error:
        return f"{refuses} ({error.code})" if error.code in (401, 403) else f"{_host()} answers {error.code}"
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        is_doubtful = isinstance(reason, ssl.SSLError)  # of Python's certificates; W&B has those of the system
        return "" if is_doubtful else f"{_host()} does not answer: {reason}"
    except (HTTPException, ValueError, KeyError, TypeError):
        return f"{_host()} does not answer as W&B does"


def _host() -> str:
    return urlsplit(server()).hostname or server()
