"""What a machine has: limits of containers from folders as the kernel lays them out, instructions, disk, bandwidth."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shammah import machine as system
from shammah.models import automatic
from shammah.models.automatic import PROBES, PROBES_APART
from shammah.models.container import Container, container
from shammah.models.instructions import instructions, linux_flags, mac_flags
from shammah.models.machine import disk_free, look, measure_bandwidth, memory

GB = 1_000_000_000


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n", encoding="utf-8")
    return root


def groups(folder: Path, own: str, files: dict[str, str]) -> Container:
    """The limits where /proc/self/cgroup reads `own` and /sys/fs/cgroup holds `files`."""
    write(folder, {"own": own})
    return container(folder / "own", write(folder / "root", files))


def test_a_container_of_version_2_limits_memory_and_processors(tmp_path: Path) -> None:
    files = {
        "memory.max": str(4 * GB),
        "memory.current": str(3 * GB),
        "memory.stat": f"anon {GB}\nactive_file {GB // 2}\ninactive_file {GB}",
        "cpu.max": "150000 100000",
    }
    # Of 3 GB in use, 1.5 GB are cached files, which can be dropped.
    assert groups(tmp_path, "0::/", files) == Container(4 * GB, 2_500_000_000, 1.5)


def test_a_container_of_version_1_limits_memory_and_processors(tmp_path: Path) -> None:
    own = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/"
    files = {
        "memory/docker/abc/memory.limit_in_bytes": str(2 * GB),
        "memory/docker/abc/memory.usage_in_bytes": str(GB),
        "memory/docker/abc/memory.stat": f"inactive_file 1\ntotal_inactive_file {GB // 4}\ntotal_active_file 0",
        "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
    }
    assert groups(tmp_path, own, files) == Container(2 * GB, 1_250_000_000, 2.0)


def test_inside_a_container_the_path_of_outside_is_passed_over(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": str(GB), "memory/memory.usage_in_bytes": "0"}
    assert groups(tmp_path, "5:memory:/docker/abc", files).total == GB


def test_the_tightest_of_all_groups_above_counts(tmp_path: Path) -> None:
    files = {
        "user.slice/memory.max": str(8 * GB),
        "user.slice/memory.current": str(7 * GB),
        "user.slice/chat.scope/memory.max": str(4 * GB),
        "user.slice/chat.scope/memory.high": str(3 * GB),
        "user.slice/chat.scope/memory.current": "0",
    }
    assert groups(tmp_path, "0::/user.slice/chat.scope", files) == Container(3 * GB, GB, None)


@pytest.mark.parametrize("text", ["max", "9223372036854771712", "", "plenty"])
def test_no_limit_is_no_limit(tmp_path: Path, text: str) -> None:
    files = {"memory.max": text, "memory/memory.limit_in_bytes": text, "cpu.max": "max 100000"}
    assert groups(tmp_path, "0::/\n4:memory:/", files) == Container()


def test_a_group_that_uses_more_than_its_limit_has_nothing_free(tmp_path: Path) -> None:
    files = {"memory.max": str(GB), "memory.current": str(2 * GB)}
    assert groups(tmp_path, "0::/", files).available == 0


@pytest.mark.parametrize("own", ["", "nonsense", "0::", "0::/../../x", ":::", "5:memory:/" + "a/" * 200])
def test_a_strange_list_of_groups_does_no_harm(tmp_path: Path, own: str) -> None:
    assert groups(tmp_path, own, {}) == Container()


def test_a_system_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    assert container(tmp_path / "none", tmp_path) == Container()


def test_memory_is_what_the_container_leaves_of_the_machines() -> None:
    whole = system.memory().total
    assert memory(Container()).total <= whole
    assert memory(Container(total=GB, available=GB // 2)) == system.Memory(GB, GB // 2)
    assert memory(Container(total=1000 * whole)).total <= whole


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of addresses")
def test_memory_obeys_the_limit_of_addresses() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9))\n"
        "from shammah.models.machine import memory; print(memory().total)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("1000000000", "")


def test_flags_of_linux_are_those_of_the_first_processor() -> None:
    text = "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\nflags\t\t: fpu"
    assert linux_flags(text) == {"fpu", "avx2", "avx512_vnni"}
    assert linux_flags("processor\t: 0\nFeatures\t: fp asimd asimddp\n") == {"fp", "asimd", "asimddp"}
    assert linux_flags("") is None


def test_flags_of_macos_are_the_features_that_are_on() -> None:
    text = "hw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_SME: 0\nhw.optional.neon: 1\n"
    assert mac_flags(text) == {"hw.optional.arm.feat_dotprod", "hw.optional.neon"}
    assert mac_flags("sysctl: unknown oid 'hw.optional'") is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_instructions_have_one_name_on_every_system(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("Features\t: fp asimd asimddp i8mm\n", encoding="ascii")
    assert instructions(cpuinfo) == frozenset({"neon", "dotprod", "i8mm"})
    assert instructions(tmp_path / "none") is None


def test_the_disk_of_a_folder_that_is_still_to_be_made_is_found(tmp_path: Path) -> None:
    here = disk_free(tmp_path)
    there = disk_free(tmp_path / "models" / "not" / "yet")
    assert here is not None
    assert there == pytest.approx(here, rel=0.2)


def test_the_probe_gives_a_figure_or_says_that_it_has_none() -> None:
    found = measure_bandwidth(processors=2, seconds=0.6)
    assert found is None or found > 1e7


def test_a_probe_without_time_gives_no_figure() -> None:
    assert measure_bandwidth(processors=1, seconds=0.0) is None


def test_this_machine_is_seen_whole(tmp_path: Path) -> None:
    found = look(tmp_path / "models", bandwidth=2e10)
    assert 0 < found.memory_available <= found.memory_total
    assert found.processors >= 1
    assert found.disk_free is not None
    assert found.bandwidth == 2e10


def days_later(models: Path) -> None:
    """What was kept is as old as a start some days later finds it."""
    before = time.time() - 3 * PROBES_APART
    os.utime(models / "machine.json", (before, before))


def bandwidth(models: Path, probe: float | None, *, anew: bool = False) -> float | None:
    """What a start takes for the bandwidth when its probe, where it makes one, tells this."""
    return automatic.machine(models, anew=anew, probe=lambda _processors: probe).bandwidth


def test_a_figure_of_the_same_day_is_not_measured_again(tmp_path: Path) -> None:
    assert bandwidth(tmp_path, 8e9) == bandwidth(tmp_path, 24e9) == 8e9


def test_a_figure_of_a_busy_day_is_raised_at_a_later_start_and_stays(tmp_path: Path) -> None:
    found = []
    for probe in (8e9, 24e9, 12e9):
        found.append(bandwidth(tmp_path, probe))
        days_later(tmp_path)
    assert found == [8e9, 24e9, 24e9]


def test_after_some_probes_the_best_counts_for_good(tmp_path: Path) -> None:
    for _ in range(PROBES):
        bandwidth(tmp_path, 20e9)
        days_later(tmp_path)
    assert bandwidth(tmp_path, 24e9) == 20e9


def test_who_asks_for_it_measures_anew_at_any_time_and_lowers_nothing(tmp_path: Path) -> None:
    assert bandwidth(tmp_path, 8e9) == 8e9
    assert bandwidth(tmp_path, 24e9, anew=True) == 24e9
    assert bandwidth(tmp_path, 9e9, anew=True) == 24e9


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no process to files of nothing")
def test_a_disk_that_takes_nothing_costs_no_figure_that_is_kept(tmp_path: Path) -> None:
    bandwidth(tmp_path, 24e9)
    program = (
        "import sys; from pathlib import Path; from shammah.models import automatic\n"
        "automatic.machine(Path(sys.argv[1]), anew=True, probe=lambda _processors: 30e9)"
    )
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-c", program, str(tmp_path)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)
    assert bandwidth(tmp_path, None) == 24e9


def test_a_probe_that_told_nothing_is_made_again_at_the_next_start(tmp_path: Path) -> None:
    assert bandwidth(tmp_path, None) is None
    assert bandwidth(tmp_path, 24e9) == 24e9


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"bytes_per_s": "fast"}', '{"bytes_per_s": 1, "probes": null}'])
def test_what_is_kept_and_cannot_be_read_is_measured_again(tmp_path: Path, kept: str) -> None:
    (tmp_path / "machine.json").write_text(kept, encoding="utf-8")
    assert bandwidth(tmp_path, 24e9) == 24e9
