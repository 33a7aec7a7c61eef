"""scripts/benchmark_reading.py measures and shows that processes share the packed file."""

import re


def test_two_processes_share_the_packed_file(run_script):
    flags = ["--threads", "1", "--processes", "2", "--repeats", "1", "--samples", "2"]
    done = run_script("scripts/benchmark_reading.py", *flags)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(png|packed) +2 +1 +([\d.]+)", done.stdout, re.MULTILINE)
    assert [source for source, _ in rows] == ["png", "packed"] and all(float(rate) > 0 for _, rate in rows)
    found = re.findall(r"(\d+) MB resident, (\d+) MB proportional", done.stdout)
    assert len(found) == 2 and all(int(shared) < 0.7 * int(resident) for resident, shared in found)
