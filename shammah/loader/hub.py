"""What a repository on the hub holds at one commit: files with sizes and digests. The only home of huggingface_hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
from huggingface_hub import HfApi, get_session, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from shammah.errors import HubError
from shammah.loader.deadline import within
from shammah.loader.faults import from_network, from_status, portal, silent
from shammah.loader.select import climbs, storable
from shammah.models.protocol import ListedFile
from shammah.network import host_of

DEADLINE = 25.0
"""Seconds for a whole listing, name look-up included: a failure should be on the screen within 30."""
TIMEOUT = httpx2.Timeout(10.0)
LARGEST = 32 * 2**20
"""Bytes of one answer; the listing of ten thousand files takes three million."""
PAGES = 20
REDIRECTS = 5

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DIGEST = _COMMIT
"""Of git's sha1 or of sha256."""


@dataclass(frozen=True)
class Listing:
    """What a repository holds at a commit."""

    commit: str
    files: tuple[ListedFile, ...]


def list_files(repo: str, revision: str, endpoint: str, token: str = "", *, deadline: float = DEADLINE) -> Listing:
    """Ask the hub what `repo` holds at `revision`; takes no longer than `deadline` seconds.

    Raises:
        HubError: it cannot be asked, refuses, or answers what cannot be true.
    """
    host = host_of(endpoint)
    try:
        return within(deadline, partial(_listed, repo, revision, endpoint.rstrip("/"), token))
    except TimeoutError:  # Only `within` raises it bare: the libraries below wrap theirs.
        raise silent(host, deadline) from None
    except HfHubHTTPError as cause:
        answer = cause.response
        raise from_status(answer.status_code, answer.headers, repo, host) from cause
    except HFValidationError as cause:
        raise HubError(f"{repo} is no name of a repository", hint="A name has the form OWNER/NAME") from cause
    except OfflineModeIsEnabled as cause:
        raise HubError("The network is switched off by HF_HUB_OFFLINE", hint="Unset it to fetch a model") from cause
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as cause:
        raise from_network(cause, host) from cause
    # What comes may be any JSON, or none.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        problem = f"{host} answers what is no listing of {repo} ({type(cause).__name__})"
        raise HubError(problem, hint="Check HF_ENDPOINT, or try again later", retryable=True) from cause


def _listed(repo: str, revision: str, endpoint: str, token: str) -> Listing:
    set_client_factory(partial(_client, host_of(endpoint)))
    commit = HfApi(endpoint, token or False, library_name="shammah").model_info(repo, revision=revision).sha
    if commit is None or not _COMMIT.fullmatch(commit):
        raise ValueError(f"commit {commit!r}")
    return Listing(commit, tuple(_files(f"{endpoint}/api/models/{repo}/tree/{commit}", token)))


def _files(address: str, token: str) -> Iterator[ListedFile]:
    """The files in every page of the tree; those whose names not every system can store are left out.

    Asked for by itself: `HfApi.list_repo_tree` sleeps as long as the hub likes before it tries again.
    """
    headers = build_hf_headers(token=token or False, library_name="shammah")
    params: dict[str, str] | None = {"recursive": "true"}
    for _ in range(PAGES):
        answer = get_session().get(address, headers=headers, params=params)
        hf_raise_for_status(answer)
        entries = [_file(entry) for entry in answer.json() if entry["type"] == "file"]
        yield from (file for file in entries if storable(file.path))
        # The link to the next page holds the parameters.
        address, params = answer.links.get("next", {}).get("url", ""), None
        if not address:
            return


def _file(entry: dict[str, Any]) -> ListedFile:
    large = entry.get("lfs") or {}
    file = ListedFile(entry["path"], entry["size"], large.get("oid") or entry["oid"])
    if climbs(file.path):
        raise HubError(f"The repository holds a file with the path {file.path!r}", hint="Do not use this repository")
    if type(file.size) is not int or file.size < 0 or not _DIGEST.fullmatch(file.digest):
        raise ValueError(f"{file.path}: size {file.size!r}, digest {file.digest!r}")
    return file


def _client(host: str) -> httpx2.Client:
    """The client that huggingface_hub uses, which by itself waits for ever and reads all that comes."""

    def before(request: httpx2.Request) -> None:
        request.extensions["timeout"] = TIMEOUT.as_dict()
        request.headers["Accept-Encoding"] = "identity"
        if request.url.netloc.decode("ascii") != host:
            request.headers.pop("Authorization", None)

    def after(answer: httpx2.Response) -> None:
        if "html" in answer.headers.get("Content-Type", "") and answer.is_success:
            raise portal(host)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise HubError(f"{host} sends its listing packed, which was not asked for", hint="Check HF_ENDPOINT")
        assert isinstance(answer.stream, httpx2.SyncByteStream)
        answer.stream = _Limited(answer.stream, host)

    hooks: dict[str, list[Callable[..., Any]]] = {"request": [before], "response": [after]}
    return httpx2.Client(event_hooks=hooks, follow_redirects=True, max_redirects=REDIRECTS, timeout=TIMEOUT)


class _Limited(httpx2.SyncByteStream):
    """The bytes of an answer, up to `LARGEST`."""

    def __init__(self, stream: httpx2.SyncByteStream, host: str) -> None:
        self._stream = stream
        self._host = host

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._stream:
            size += len(piece)
            if size > LARGEST:
                raise HubError(f"{self._host} sends a listing that does not end", hint="Check HF_ENDPOINT")
            yield piece

    def close(self) -> None:
        self._stream.close()
