"""What can go wrong with the hub, the network and the disk, each as a true sentence with a next step."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx2

from shammah.errors import HubError
from shammah.network import causes

PORTAL = "Open a web page in a browser: this network may ask for a sign-in first. Otherwise check HF_ENDPOINT"
WAIT = "Try again in a while; what was fetched is kept"
NETWORK = "Check the connection and HF_ENDPOINT; models that are on this machine work without it"
TOKEN = "Set HF_TOKEN to a token that may read it, or choose another model with shammah models list"

TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

_STATUSES = {
    400: ("{host} does not understand the request for {what}", "Check the name OWNER/NAME and local.file"),
    401: ("There is no {what} on {host}, or it is private", f"Check the name. {TOKEN}"),
    403: ("{host} refuses access to {what}", f"{TOKEN}. A proxy may refuse it too"),
    404: ("There is no {what} on {host}", "Check the name; shammah models list shows what is known to exist"),
    407: ("The proxy wants a name and a password before {host} can be asked", "Put them into HTTPS_PROXY"),
    408: ("{host} gave up waiting for the request", WAIT),
    410: ("{what} is no longer on {host}", "Choose another model with shammah models list"),
    429: ("{host} allows no more requests for now{after}", "Wait, then try again; a token in HF_TOKEN allows more"),
    451: ("{host} may not give out {what} for legal reasons", "Choose another model with shammah models list"),
    500: ("{host} has an error of its own", WAIT),
    502: ("{host} cannot be reached by the server before it", WAIT),
    503: ("{host} is overloaded or being repaired{after}", WAIT),
    504: ("{host} did not answer the server before it in time", WAIT),
    511: ("This network wants a sign-in before {host} can be asked", PORTAL),
}
_CODES = {
    "GatedRepo": (
        "{what} is given only to those who have accepted its terms",
        "Accept them on its page at {host}, then set HF_TOKEN",
    ),
    "RepoNotFound": ("There is no {what} on {host}, or it is private", f"Check the name. {TOKEN}"),
    "RevisionNotFound": ("{what} has no such revision on {host}", "Leave the revision out to take the newest"),
    "EntryNotFound": ("{what} is listed on {host}, but the file is not there", WAIT),
}
"""The hub's own words for its errors, in the header X-Error-Code."""


def from_status(status: int, headers: Mapping[str, str], what: str, host: str) -> HubError:
    """The error that an HTTP status means; `what` is the repository or the file that was asked for."""
    refused = "credentials" in headers.get("X-Error-Message", "").lower()
    if status == 401 and refused:
        return HubError(
            f"{host} does not accept the token in HF_TOKEN", hint="Make a new token there, or unset HF_TOKEN"
        )
    message, hint = (
        _CODES.get(headers.get("X-Error-Code", ""))
        or _STATUSES.get(status)
        or ("{host} cannot serve {what}", WAIT if status >= 500 else NETWORK)
    )
    seconds = headers.get("Retry-After", "")
    words = {"host": host, "what": what, "after": f", for {seconds} s" if seconds.isdigit() else ""}
    retryable = status in TEMPORARY or status >= 500
    return HubError(f"{message.format(**words)} (status {status})", hint=hint.format(**words), retryable=retryable)


def from_network(cause: BaseException, host: str) -> HubError:
    """The error that a failed request means: libraries wrap the reason, so the first cause that is known tells it.

    `host` is named where the failure does not tell which host was asked.
    """
    host = _asked(cause) or host
    for error in reversed(list(causes(cause))):
        if found := _known(error, host):
            return found
    return HubError(f"{host} cannot be reached: {cause or type(cause).__name__}", hint=NETWORK, retryable=True)


def from_disk(cause: OSError, folder: Path) -> HubError:
    """The error that a failed write into the models folder means."""
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Make room, then try again: what was fetched is kept. Or set SHAMMAH_HOME to a folder on a larger disk"
        return HubError(f"The disk that holds {folder} is full", hint=hint)
    hint = "See that the folder may be written to, or set SHAMMAH_HOME to another one"
    return HubError(f"{cause.filename or folder} cannot be written: {cause.strerror or cause}", hint=hint)


def portal(host: str) -> HubError:
    """A web page came where a file or a listing was asked for."""
    return HubError(f"A web page came instead of an answer from {host}", hint=PORTAL, retryable=True)


def silent(host: str, seconds: float) -> HubError:
    """Nothing, or next to nothing, came for so long."""
    return HubError(f"{host} sent next to nothing for {seconds:.0f} s", hint=f"{NETWORK}. {WAIT}", retryable=True)


def _asked(cause: BaseException) -> str:
    """The host that a failed request went to, which may be one that the hub sent to."""
    if not isinstance(cause, httpx2.RequestError):
        return ""
    try:
        return cause.request.url.netloc.decode("ascii")
    except RuntimeError:  # It failed before there was a request.
        return ""


def _known(error: BaseException, host: str) -> HubError | None:
    match error:
        case HubError():
            return error
        case socket.gaierror():
            return HubError(f"No address is known for {host}", hint=NETWORK, retryable=True)
        case ssl.SSLCertVerificationError():
            hint = "Check this machine's date; where a proxy opens connections, name its certificate in SSL_CERT_FILE"
            return HubError(f"The certificate of {host} cannot be trusted: {error.verify_message}", hint=hint)
        case ssl.SSLError():
            hint = "Check HF_ENDPOINT; a proxy or a sign-in page of this network may answer in its place"
            return HubError(f"{host} does not speak TLS as it should: {error.reason}", hint=hint, retryable=True)
        case httpx2.ProxyError():
            return HubError(f"The proxy does not let a request to {host} through: {error}", hint="Check HTTPS_PROXY")
        case httpx2.TooManyRedirects():
            return HubError(f"{host} sends from one address to the next without end", hint=NETWORK)
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return HubError(f"{host} leads to an address that is no web address: {error}", hint="Check HF_ENDPOINT")
        case httpx2.ReadTimeout() | httpx2.WriteTimeout() | httpx2.PoolTimeout():
            return HubError(
                f"{host} took the connection and does not answer", hint=f"{NETWORK}. {WAIT}", retryable=True
            )
        case httpx2.ConnectTimeout():
            return HubError(f"{host} does not answer to the call", hint=NETWORK, retryable=True)
        case httpx2.RemoteProtocolError():
            return HubError(f"{host} breaks off in the middle of its answer", hint=WAIT, retryable=True)
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            return HubError(f"{host} breaks off the connection", hint=WAIT, retryable=True)
        case ConnectionRefusedError():
            return HubError(f"{host} refuses the connection", hint=NETWORK, retryable=True)
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH | errno.ENETDOWN):
            return HubError(f"There is no way from here to {host}: no network", hint=NETWORK, retryable=True)
    return None
