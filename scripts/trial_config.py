"""Promise 5 at full length: kills while config.toml is saved, and broken files; exits 1 when the promise is broken.

python scripts/trial_config.py KILLS BROKEN_FILES
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import tomli

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.promise import Reached, tell
from shammah.config import example, load, set_value
from shammah.errors import ConfigError

SAVER = """
import itertools, pathlib, sys
from shammah.config import set_value
path = pathlib.Path(sys.argv[1])
for number in itertools.count(1):
    set_value(path, "generation.seed", str(number))
    print(number, flush=True)
    set_value(path, "chat.system", "x" * (number * 997 % 20_000))
"""

AIM = "every file parses after 500 kills, broken files untouched, their line named, start in at most 1 s"

COMMENTS = [line for line in example().splitlines() if line.startswith("#")]


def main() -> int:
    """Run both trials, print a row for each, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=500)
    parser.add_argument("broken", type=int, nargs="?", default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        killed = kill_savers(path, given.kills, chance)
        broken, slowest = break_files(path, given.broken, chance)
    saved = f"kills {given.kills}, " + ", ".join(f"{name} {count}" for name, count in killed.items())
    row = ", ".join(f"{name} {count}" for name, count in broken.items())
    read = f"broken files {given.broken}, {row}, slowest {slowest * 1000:.0f} ms"
    promised = [killed, {name: count for name, count in broken.items() if name != "refused"}]
    held = not any(any(row.values()) for row in promised) and slowest <= 1
    return tell([Reached(5, f"{saved}; {read}", AIM, held)], given.json)


def kill_savers(path: Path, kills: int, chance: random.Random) -> dict[str, int]:
    """Kill a process that saves without a pause, again and again, and count what each kill has cost."""
    path.write_text(example(), encoding="utf-8")
    cost = {"unparsable": 0, "lost edits": 0, "lost comments": 0, "files left behind": 0}
    for _ in range(kills):
        confirmed = _kill_one(path, chance.uniform(0, 0.1))
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            seed = tomli.loads(text)["generation"]["seed"]
            load(path)
        except (tomli.TOMLDecodeError, KeyError, ConfigError):
            cost["unparsable"] += 1
            path.write_text(example(), encoding="utf-8")
            continue
        cost["lost edits"] += seed < confirmed
        cost["lost comments"] += any(comment not in text for comment in COMMENTS)
        # Beside the file and its lock, one half-written file may wait for the next save.
        cost["files left behind"] += len(list(path.parent.iterdir())) > 3
    return cost


def _kill_one(path: Path, seconds: float) -> int:
    """Let one process save for that long, kill it, and return the last number that it said was saved."""
    command = [sys.executable, "-c", SAVER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as saver:
        assert saver.stdout is not None
        first = saver.stdout.readline()
        time.sleep(seconds)
        saver.kill()
        rest = saver.stdout.read()
    # The last line may be cut off by the kill.
    whole = (first + rest).rpartition("\n")[0]
    return int(whole.splitlines()[-1])


def break_files(path: Path, count: int, chance: random.Random) -> tuple[dict[str, int], float]:
    """Read and edit files that are broken by chance, and count what goes wrong; with the longest time in seconds."""
    found = Counter({"refused": 0, "without a line": 0, "changed": 0, "other faults": 0})
    slowest = 0.0
    for _ in range(count):
        broken = _broken(chance)
        path.write_bytes(broken)
        start = time.perf_counter()
        found.update(_faults(path, broken))
        slowest = max(slowest, time.perf_counter() - start)
    return dict(found), slowest


def _faults(path: Path, broken: bytes) -> list[str]:
    faults = []
    try:
        load(path)
    except ConfigError as error:
        faults += ["refused"] if re.search(r"line \d+", str(error)) else ["refused", "without a line"]
    except Exception:
        faults.append("other faults")
    try:
        set_value(path, "local.threads", "3")
    except ConfigError:
        faults += ["changed"] if path.read_bytes() != broken else []
    except Exception:
        faults.append("other faults")
    return faults


def _broken(chance: random.Random) -> bytes:
    """The example file with one to three things done to it that editors, disks and slips of the fingers do."""
    data = example().encode()
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        length = chance.choice([1, 1, 2, 10, 200])
        harm = chance.choice(["cut", "drop", "double", "noise", "flip", "swap", "mark"])
        match harm:
            case "cut":
                data = data[: max(at, 20)]
            case "drop":
                data = data[:at] + data[at + length :]
            case "double":
                data = data[:at] + data[at : at + length] * 2 + data[at + length :]
            case "noise":
                data = data[:at] + chance.randbytes(length) + data[at + length :]
            case "flip":
                data = data[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]
            case "swap":
                data = data[:at] + data[at + 1 : at + 2] + data[at : at + 1] + data[at + 2 :]
            case "mark":
                data = data[:at] + chance.choice([b'"', b"'", b"[", b"]", b"=", b"\n", b"\\", b'"""', b"{"]) + data[at:]
    return data


if __name__ == "__main__":
    sys.exit(main())
