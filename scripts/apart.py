"""The words before a command that give it a part of the system of its own (unshare, Linux only)."""

from __future__ import annotations

import os


def apart(what: str) -> list[str]:
    """Its own "net" or "mount"; whoever lacks the rights for that becomes the root of a user namespace."""
    is_root = os.name != "nt" and os.geteuid() == 0
    return ["unshare", *([] if is_root else ["--map-root-user"]), f"--{what}"]


def mounted(mount: str) -> list[str]:
    """The same with its own mounts, after this shell command has made one."""
    return [*apart("mount"), "sh", "-c", f'{mount} && exec "$@"', "sh"]
