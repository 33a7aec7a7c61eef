"""Starts a script as ModelArts' preset engines do: one process per device, with Ascend's rank table.

    python tests/distributed/rank_table_job.py RANKS SCRIPT [ARGUMENTS ...]

Ends with the status of the first process that fails. It does not end the other processes.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def rank_table(ranks: int, address: str = "192.0.2.7") -> dict:
    """Returns the table of one machine."""
    devices = [{"device_id": str(i), "device_ip": f"198.51.100.{i}", "rank_id": str(i)} for i in range(ranks)]
    server = {"server_id": address, "device": devices, "host_nic_ip": "reserve"}
    return {"version": "1.0", "server_count": "1", "server_list": [server], "status": "completed"}


def main(ranks: int, command: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "jobstart_hccl.json"
        table.write_text(json.dumps(rank_table(ranks)))
        job = {"RANK_TABLE_FILE": str(table), "RANK_SIZE": str(ranks)}
        processes = [
            subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, **job, "RANK_ID": str(rank), "DEVICE_ID": str(rank), "ASCEND_DEVICE_ID": str(rank)},
            )
            for rank in range(ranks)
        ]
        statuses = [process.wait() for process in processes]
        return next((status if status > 0 else 128 - status for status in statuses if status), 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
