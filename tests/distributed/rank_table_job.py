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


def rank_table(machines: dict[str, dict[int, int]]) -> str:
    """Returns the text of the table of {address: {rank: device id}}, as ModelArts writes it."""
    servers = [
        {
            "server_id": address,
            "device": [
                {"device_id": str(device), "device_ip": f"198.51.100.{rank}", "rank_id": str(rank)}
                for rank, device in devices.items()
            ],
            "host_nic_ip": "reserve",
        }
        for address, devices in machines.items()
    ]
    table = {"version": "1.0", "server_count": str(len(servers)), "server_list": servers, "status": "completed"}
    return json.dumps(table)


def main(ranks: int, command: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "jobstart_hccl.json"
        table.write_text(rank_table({"192.0.2.7": {rank: rank for rank in range(ranks)}}))
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
