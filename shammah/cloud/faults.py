"""What can go wrong between this machine and Claude, each as a true sentence with a next step.

Imports the SDK. None of the SDK's exceptions goes further than this: they hold the key.
"""

from __future__ import annotations

import email.utils
import errno
import math
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

import anthropic
import httpx2

from shammah.cloud import known_models
from shammah.cloud.exchange import Fault, RefusalError, TornError
from shammah.cloud.key import ANOTHER_KEY, Where
from shammah.errors import CloudError, CloudTrouble
from shammah.network import causes

LATER = "Ask again in a while; /local answers on this machine meanwhile"
NETWORK = "Check the connection, and the proxy where one is set; /local answers on this machine without it"
PORTAL = "Open a web page in a browser: this network may ask for a sign-in first. Otherwise check ANTHROPIC_BASE_URL"
ADDRESS = "Check ANTHROPIC_BASE_URL"
SHORTER = "Begin a new conversation with /new, or ask with less text"
SAID = 200
"""Characters of the other side's own words that are passed on."""

_CREDIT = re.compile(r"credit balance|out of credit|billing", re.IGNORECASE)
_SPENT = re.compile(r"spend(ing)?[ _]limit|usage limits?\b", re.IGNORECASE)
_LONG = re.compile(
    r"prompt is too long|context (window|limit|length)|too many (input )?tokens|too large", re.IGNORECASE
)
_MOST_TOKENS = re.compile(r"max_tokens\D{1,20}\d+ > (\d+)")
_SECRET = re.compile(r"sk-[\w-]{6,}|Bearer +\S+")


class PortalError(Exception):
    """A web page came where an answer was asked for."""


@dataclass(frozen=True)
class Peer:
    """Who was asked, and with which key: the host, the seconds it may be silent, where the key was found, and what
    takes the key out of the other side's words.
    """

    host: str
    silence_s: float
    key_from: Where
    hide: Callable[[str], str]

    def quote(self, text: str) -> str:
        """The other side's words, in one line, shortened, without what looks like a key."""
        line = " ".join(_SECRET.sub("(the key)", self.hide(text)).split())
        line = "".join(letter if letter.isprintable() else "?" for letter in line)
        return line if len(line) <= SAID else f"{line[:SAID]}..."


def of(cause: BaseException, peer: Peer, model: str) -> Fault:
    """What an exception means that a request ended with."""
    match cause:
        case CloudError():
            return Fault(cause)
        case anthropic.APIStatusError():
            return _status(cause, peer, model)
        case RefusalError():
            return _refused(cause.kind, str(cause), peer)
        case TornError():
            return Fault(_error(f"The answer broke off: {cause}", "Ask again to go on", "overloaded"), again=True)
        case PortalError():
            return Fault(_error(f"A web page came instead of an answer from {peer.host}", PORTAL, "offline"))
        case TimeoutError():
            return _silent(peer)
    chain = list(causes(cause))
    for error in reversed(chain):
        if fault := _network(error, peer):
            return fault
    kind = type(chain[-1]).__name__
    return Fault(_error(f"{peer.host} cannot be asked: {kind}", NETWORK, "offline"), again=True)


def stopped() -> Fault:
    """The connection was closed from this side."""
    return Fault(_error("Claude was switched off meanwhile", "Ask again", "other"))


def refuse_page(headers: httpx2.Headers) -> None:
    """Refuse a web page in place of an answer.

    Raises:
        PortalError: it is one.
    """
    if "html" in headers.get("content-type", ""):
        raise PortalError


def _error(message: str, hint: str, trouble: CloudTrouble) -> CloudError:
    return CloudError(message, hint=hint, trouble=trouble)


# What the other side answers


def _status(cause: anthropic.APIStatusError, peer: Peer, model: str) -> Fault:
    said = cause.api_message if isinstance(cause.api_message, str) else ""
    from_claude = cause.type is not None
    status, after = cause.status_code, _retry_after(cause.response.headers)
    meant = _by_meaning(status, f"{said} {cause.error_code or ''}", peer, model, after)
    # A server that stands between means the same by these three only.
    error = meant if meant and (from_claude or status in (401, 429, 529)) else _by_status(status, said, peer, after)
    waiting_helps = status in (408, 409, 429) or status >= 500
    again = waiting_helps and error.trouble != "credit" and cause.response.headers.get("x-should-retry") != "false"
    return Fault(error, again, after, answered=True)


def _by_meaning(status: int, said: str, peer: Peer, model: str, after: float | None) -> CloudError | None:
    """The error by what Claude's own answer says; None where only the status tells."""
    match status:
        case 401:
            return _wrong_key(peer)
        case 400 | 402 | 403 | 429 if _SPENT.search(said):
            until = _regained(said)
            return _error(
                f"The spend limit of this key's account is reached{until}",
                "Raise the limit under Billing at platform.claude.com, then /cloud; /local answers here meanwhile",
                "credit",
            )
        case 402:
            return _no_credit(peer)
        case 400 | 403 if _CREDIT.search(said):
            return _no_credit(peer)
        case 413:
            return _error("The conversation is too long to be sent to Claude", SHORTER, "too long")
        case 400 if most := _MOST_TOKENS.search(said):
            return _error(
                f"{model} gives no answers as long as cloud.max_tokens allows",
                f"Type /set cloud.max_tokens {most[1]}",
                "other",
            )
        case 400 if _LONG.search(said):
            return _error(f"The conversation is longer than {model} can read: {peer.quote(said)}", SHORTER, "too long")
        case 404 if "model" in said or (model and model in said):
            return _unknown_model(model)
        case 429:
            return _error(f"Claude takes no more requests from this account{_until(after)}", LATER, "limit")
        case 529:
            return _error("Claude is overloaded (status 529)", LATER, "overloaded")
    return None


def _by_status(status: int, said: str, peer: Peer, after: float | None) -> CloudError:
    words = f": {peer.quote(said)}" if said else f" (status {status})"
    match status:
        case 404:
            return _error(f"{peer.host} does not answer as Claude does (status 404)", ADDRESS, "other")
        case 403 if said:
            return _not_permitted(peer, said)
        case 403:
            hint = f"A proxy or a firewall may refuse it. {ADDRESS}"
            return _error(f"{peer.host} refuses access (status 403)", hint, "offline")
        case 407:
            return _error("The proxy wants a name and a password", "Put them into HTTPS_PROXY", "offline")
        case 511:
            return _error(f"This network wants a sign-in before {peer.host} can be asked", PORTAL, "offline")
        case _ if 300 <= status < 400:
            return _error(f"{peer.host} sends to another address, where nothing was sent to", PORTAL, "offline")
        case 408 | 409:
            return _error(f"Claude could not take the request{words}", LATER, "overloaded")
        case _ if status >= 500:
            return _error(f"Claude has an error of its own (status {status}){_until(after, ', ')}", LATER, "overloaded")
    hint = "Change the question or the settings under [cloud], or type /local"
    return _error(f"Claude does not accept the request{words}", hint, "other")


def _wrong_key(peer: Peer) -> CloudError:
    return _error(f"{peer.host} does not accept the key", _another_key(peer), "key")


def _no_credit(peer: Peer) -> CloudError:
    steps = f"Add credit under Billing at platform.claude.com, then /cloud; or {ANOTHER_KEY[peer.key_from]}"
    hint = f"{steps}; /local answers on this machine meanwhile"
    return _error("No credit is left in this key's account", hint, "credit")


def _not_permitted(peer: Peer, said: str) -> CloudError:
    return _error(f"This key may not do that: {peer.quote(said)}", _another_key(peer), "refused")


def _another_key(peer: Peer) -> str:
    step = ANOTHER_KEY[peer.key_from]
    return f"{step[:1].upper()}{step[1:]}"


def _unknown_model(model: str) -> CloudError:
    near, end = known_models.nearest(model), known_models.ends(model)
    hint = f"Did you mean {near}? Type /set cloud.model {near}" if near else "Change cloud.model: /set cloud.model NAME"
    over = f"; its end was announced for {end}" if end else ", or this key may not use it"
    return _error(f"There is no Claude model {model}{over}", hint, "model")


def _refused(kind: str, said: str, peer: Peer) -> Fault:
    """An error in the middle of a stream, which comes with status 200."""
    match kind:
        case "overloaded_error":
            return Fault(_error("Claude is overloaded, and the answer broke off", LATER, "overloaded"), again=True)
        case "rate_limit_error":
            message = "Claude takes no more requests from this account, and the answer broke off"
            return Fault(_error(message, LATER, "limit"), again=True)
        case "authentication_error":
            return Fault(_wrong_key(peer))
        case "billing_error":
            return Fault(_no_credit(peer))
        case "permission_error":
            return Fault(_not_permitted(peer, said))
        case "api_error" | "timeout_error":
            message = "Claude has an error of its own, and the answer broke off"
            return Fault(_error(message, LATER, "overloaded"), again=True)
    return Fault(_error(f"Claude breaks off the answer: {peer.quote(said or kind)}", "Ask again", "other"))


def _silent(peer: Peer) -> Fault:
    return Fault(_error(f"Claude has been silent for {peer.silence_s:g} s", LATER, "offline"))


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds to wait, where they were told: as a number, or as a date."""
    told = headers.get("retry-after", "").strip()
    try:
        seconds = float(told)
    except ValueError:
        date = email.utils.parsedate_tz(told)
        seconds = email.utils.mktime_tz(date) - time.time() if date else math.nan
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _until(seconds: float | None, before: str = " ") -> str:
    """When it ends, in words."""
    if seconds is None or seconds < 1:
        return ""
    if seconds < 100:
        return f"{before}for {math.ceil(seconds)} s"
    then = time.localtime(time.time() + min(seconds, 3e8))
    today = then[:3] == time.localtime()[:3]
    return f"{before}until {time.strftime('%H:%M' if today else '%Y-%m-%d %H:%M', then)}"


def _regained(said: str) -> str:
    """When a spend limit ends, in the other side's words."""
    found = re.search(r"regain access on ([\d-]+ at [\d:]+ UTC)", said)
    return f" until {found[1]}" if found else ""


# What the network does


def _network(error: BaseException, peer: Peer) -> Fault | None:
    host = peer.host
    match error:
        case TornError() | PortalError() | RefusalError():
            return of(error, peer, "")
        case socket.gaierror():
            return _unreachable(f"No address is known for {host}", NETWORK)
        case ssl.SSLCertVerificationError():
            hint = "Check this machine's date; where a proxy opens connections, name its certificate in SSL_CERT_FILE"
            why = f"The certificate of {host} cannot be trusted: {error.verify_message}"
            return Fault(_error(why, hint, "offline"))
        case ssl.SSLError():
            hint = (
                "A proxy or a sign-in page of this network may answer in its place. Otherwise check ANTHROPIC_BASE_URL"
            )
            return Fault(_error(f"{host} does not speak TLS as it should: {error.reason}", hint, "offline"), again=True)
        case httpx2.ProxyError():
            why = f"The proxy does not let a request to {host} through"
            return Fault(_error(why, "Check HTTPS_PROXY", "offline"))
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL() | httpx2.LocalProtocolError() | UnicodeError():
            return Fault(_error(f"{host} cannot be asked: the address or the key has a wrong form", ADDRESS, "other"))
        case httpx2.ConnectTimeout():
            return _unreachable(f"{host} does not answer to the call", NETWORK)
        case httpx2.ReadTimeout() | httpx2.WriteTimeout():
            return _silent(peer)
        case httpx2.RemoteProtocolError() | httpx2.DecodingError():
            return _unreachable("The connection to Claude broke off", LATER)
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            return _unreachable("The connection to Claude broke off", LATER)
        case ConnectionRefusedError():
            return _unreachable(f"{host} refuses the connection", NETWORK)
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH | errno.ENETDOWN):
            return _unreachable(f"There is no way from here to {host}: no network", NETWORK)
    return None


def _unreachable(message: str, hint: str) -> Fault:
    return Fault(_error(message, hint, "offline"), again=True)
