"""What an address and a failure of the network tell, whoever was asked."""

from __future__ import annotations

from collections.abc import Iterator


def host_of(address: str) -> str:
    """What people know an address by: its host, with the port where it has one."""
    return address.partition("://")[2].partition("/")[0].rpartition("@")[2] or address


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the last first, each once: libraries wrap the reason of the system."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        inner = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else None
        cause = inner or cause.__cause__ or cause.__context__
