"""Train on ModelArts from a terminal: upload the code, create the job, and print its state and log.

    python scripts/submit_modelarts.py --config config/ocrnet/NAME.yml --data_url obs://BUCKET/DATA \
        --train_url obs://BUCKET/RUN --flavor FLAVOR --engine ENGINE -- --batch_size 4

Flags after -- are passed to train.py. Ctrl-C asks whether to stop the job or leave it running; --job ID prints the log
of an existing job.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from ocrnet.cloud import bucket
from ocrnet.config.command_line import parse_bool
from ocrnet.errors import UserError
from ocrnet.runtime import program

KEYS = ("MODELARTS_ENDPOINT", "MODELARTS_PROJECT_ID", "OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY")
CREATING = {
    "config": "a config under config/",
    "data_url": "the data set in OBS",
    "train_url": "folder in OBS for run/ (outputs), code/ (this program) and log/ (the platform's log)",
    "flavor": "flavor id of the machine",
    "engine": "id of a ModelArts engine with MindSpore, or the address of your own image in SWR",
}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, text in CREATING.items():
        parser.add_argument(f"--{flag}", help=text)
    parser.add_argument("--nodes", type=int, default=1, help="number of nodes")
    parser.add_argument("--name", help="name of the job; default: the config and the time")
    parser.add_argument("--dry_run", type=parse_bool, default=False, help="True: print the request and exit")
    parser.add_argument("--job", metavar="ID", help="print the log of this job instead of creating one")
    parser.add_argument("--interval", type=float, default=10, help="seconds between two queries of the job")
    parser.add_argument("flags", nargs="*", help="flags of train.py, after --")
    return parser


def parse() -> argparse.Namespace:
    parser = make_parser()
    args = parser.parse_args()
    if not args.job and (missing := [f"--{flag}" for flag in CREATING if not getattr(args, flag)]):
        parser.error(f"{', '.join(missing)}: missing")
    return args


def request(args: argparse.Namespace, base: str) -> dict[str, Any]:
    """Returns the body of POST /v2/{project}/training-jobs; outputs and code are under the URL `base`."""
    config_file = Path(args.config).resolve()
    if not config_file.is_file() or not config_file.is_relative_to(ROOT / "config"):
        raise UserError(f"--config {args.config}: not a config under {ROOT / 'config'}; only these are uploaded")
    if len(args.flags) % 2 or not all(flag.startswith("--") for flag in args.flags[::2]):
        raise UserError(f"{' '.join(args.flags)}: after --, write pairs such as --batch_size 4")
    values = [
        ("config", config_file.relative_to(ROOT).as_posix()),
        ("enable_modelarts", "True"),
        ("resume_ckpt", "auto"),
    ]
    values += [("data_url", args.data_url), ("train_url", f"{base}/run")]
    values += [(flag[2:], value) for flag, value in zip(args.flags[::2], args.flags[1::2], strict=True)]
    code = f"/{base.partition('://')[2]}/code/"
    return {
        "kind": "job",
        "metadata": {
            "name": args.name or f"{config_file.stem[:44]}-{time.strftime('%Y%m%d-%H%M%S')}",
            "annotations": {"fault-tolerance/job-retry-num": "3"},  # each retry resumes the run
        },
        "algorithm": {
            "code_dir": code,
            "boot_file": f"{code}train.py",
            "engine": {"image_url" if "/" in args.engine else "engine_id": args.engine},
            "parameters": [{"name": name, "value": value} for name, value in values],
        },
        "spec": {
            "resource": {"flavor_id": args.flavor, "node_count": args.nodes},
            "log_export_path": {"obs_url": f"{base}/log/"},
        },
    }


def upload_code(url: str) -> None:
    files = [ROOT / name for name in ("train.py", "eval.py", "requirements.txt")]
    files += [file for name in ("config", "src") for file in (ROOT / name).rglob("*") if file.suffix != ".pyc"]
    names = {file.relative_to(ROOT).as_posix() for file in files if file.is_file()}
    bucket.upload(ROOT, names, url, outdated=lambda stored: stored - names)


class Service:
    """Client of the ModelArts API; repeats calls while the service is busy."""

    def __init__(self) -> None:
        try:
            from huaweicloudsdkcore.auth.credentials import BasicCredentials
            from huaweicloudsdkcore.exceptions import exceptions
            from huaweicloudsdkmodelarts import v1
        except ImportError:
            raise UserError("this needs the package huaweicloudsdkmodelarts: pip install '.[modelarts]'") from None
        if missing := [key for key in KEYS if not os.environ.get(key)]:
            raise UserError(f"{', '.join(missing)}: environment variable not set")
        self.endpoint, project, access, secret = (os.environ[key] for key in KEYS)
        keys = BasicCredentials(access, secret, project)
        if token := os.environ.get("OBS_SECURITY_TOKEN"):
            keys.with_security_token(token)
        self.sdk, self.errors = v1, exceptions
        self.client = v1.ModelArtsClient.new_builder().with_credentials(keys).with_endpoints([self.endpoint]).build()

    def call(self, method: Callable[[Any], Any], about: Any) -> Any:
        for pause in (1, 2, 4, 8, None):
            try:
                return method(about)
            except self.errors.ServiceResponseException as error:
                if error.status_code not in (429, 502, 503, 504) or pause is None:
                    text = f"{error.status_code} {error.error_code}: {error.error_msg}"
                    raise UserError(f"{self.endpoint}: request failed: {text}") from None
            except self.errors.SdkException as error:
                if (
                    method == self.client.create_training_job or pause is None
                ):  # do not repeat: the job may have been created
                    raise UserError(f"{self.endpoint}: {error.error_msg}") from None
            time.sleep(pause)

    def create(self, body: dict[str, Any]) -> str:
        return self.call(self.client.create_training_job, self.sdk.CreateTrainingJobRequest(body)).metadata.id

    def stop(self, job: str) -> None:
        action = self.sdk.JobActionType("terminate")
        self.call(self.client.stop_training_job, self.sdk.StopTrainingJobRequest(job, action))

    def follow(self, job: str, interval: float) -> None:
        """Prints state and log until the job ends. Raises UserError unless the job is completed."""
        phase, printed = "", {}
        while phase not in ("Completed", "Failed", "Terminated", "Abnormal"):
            time.sleep(interval if phase else 0)
            status = self.call(
                self.client.show_training_job_details, self.sdk.ShowTrainingJobDetailsRequest(job)
            ).status
            for task in status.tasks or []:
                about = self.sdk.ShowTrainingJobLogsPreviewRequest(job, task)
                log = self.call(self.client.show_training_job_logs_preview, about)
                new = (log.full_size or 0) - printed.get(task, 0)  # bytes; `content` is the end of the log
                if new > 0:
                    print((log.content or "").encode()[-new:].decode(errors="replace"), end="", flush=True)
                    printed[task] = log.full_size
            if status.phase != phase:
                phase = status.phase
                print(f"[{time.strftime('%H:%M:%S')}] {job}: {phase}", flush=True)
        if phase != "Completed":
            raise UserError(f"the job ended with state {phase}")


def main() -> None:
    args = parse()
    job = args.job
    if not job:
        base = args.train_url.rstrip("/")
        body = request(args, base)
        if args.dry_run:
            return print(json.dumps(body, indent=1, ensure_ascii=False))
    service = Service()
    if not job:
        upload_code(f"{base}/code")
        job = service.create(body)
    while True:
        try:
            return service.follow(job, args.interval)
        except KeyboardInterrupt:
            print(f"\n{job}: enter s to stop the job, anything else to leave it running: ", end="", flush=True)
            if sys.stdin.readline().strip() != "s":
                return print(f"the job is running; to print its log: python scripts/submit_modelarts.py --job {job}")
            service.stop(job)


if __name__ == "__main__":
    sys.exit(program.run(main))
