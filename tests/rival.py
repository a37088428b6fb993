"""A provider's trial that goes wrong in the way its argument names, obeying the contract of shammah.worker.trial.

crash    is gone without a word, as with a driver's segmentation fault
hang     reads its task and never answers
children reads its task, and neither answers nor ends; nor do two that it started, one of them in a group of its own
wrong    is very fast and gives other tokens
fast     is the CPU's own run, said to be a thousand times as fast
elsewhere  the same, a million times, with nearly all operations given to the CPU
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from shammah.local.trial import COMMAND, MARK
from shammah.worker.providers import CPU

PLACES = 25


def say(**reply: Any) -> None:
    sys.stdout.buffer.write(MARK + json.dumps(reply).encode() + b"\n")
    sys.stdout.buffer.flush()


def on_the_cpu(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the real trial says of the same task on the CPU."""
    given = json.dumps({**task, "provider": {"name": CPU.name, "ep": CPU.ep}}).encode() + b"\n"
    done = subprocess.run(COMMAND, input=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    yield from (json.loads(line.removeprefix(MARK)) for line in done.stdout.splitlines() if line.startswith(MARK))


def main(way: str) -> None:
    task = json.loads(sys.stdin.readline())
    say(stage="reading")
    match way, task["kind"]:
        case "crash", _:
            os._exit(139)
        case "hang", _:
            time.sleep(3600)
        case "children", _:
            sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
            pids = [subprocess.Popen(sleep, start_new_session=apart).pid for apart in (False, True)]
            say(pids=pids)
            time.sleep(3600)
        case "wrong", _:
            places = [[0]] * PLACES
            say(read=1e6, write=1e6, tokens=[0], tops=[0] * PLACES, near=places, rewinds=True, device="card")
        case _, "assign":
            ours = {"fast": 37, "elsewhere": 1}[way]
            say(assigned={task["provider"]["ep"]: ours, CPU.ep: 38 - ours})
        case _, "run":
            for reply in on_the_cpu(task):
                for name in reply.keys() & {"read", "write"}:
                    reply[name] *= {"fast": 1e3, "elsewhere": 1e6}[way]
                if "device" in reply:
                    reply["device"] = "card"
                say(**reply)


if __name__ == "__main__":
    main(sys.argv[1])
