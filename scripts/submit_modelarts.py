"""Train on ModelArts from a terminal: upload the code, create the job, follow its state and log.

python scripts/submit_modelarts.py --config config/ocrnet/....yml --data_url obs://BUCKET/DATA --train_url obs://BUCKET/RUN
    --flavor FLAVOR --engine mindspore_2.10.0-... -- --batch_size 4

What follows -- goes to train.py. Ctrl-C asks whether to leave the job or to stop it; --job ID looks at it again.
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

from ocrnet import bucket, errors
from ocrnet.arguments import boolean
from ocrnet.errors import UserError

KEYS = ("MODELARTS_ENDPOINT", "MODELARTS_PROJECT_ID", "OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY")
ENDED = ("Completed", "Failed", "Terminated", "Abnormal")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", metavar="FILE.yml", help="a recipe of this repository")
    parser.add_argument("--data_url", metavar="obs://", help="the data set")
    parser.add_argument(
        "--train_url", metavar="obs://", help="where everything the run writes goes; the code to its code/"
    )
    parser.add_argument("--flavor", metavar="ID", help="machine, as ModelArts names it")
    parser.add_argument("--nodes", type=int, default=1, help="machines")
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument("--engine", metavar="ID", help="ModelArts' own image with MindSpore")
    engine.add_argument("--image", metavar="URL", help="or an image of yours, in SWR")
    parser.add_argument("--name", help="of the job; default: the recipe and the time")
    parser.add_argument("--retries", type=int, default=3, help="restarts after a machine's failure; each goes on")
    parser.add_argument("--dry_run", type=boolean, default=False, help="True: show the request and stop")
    parser.add_argument("--job", metavar="ID", help="follow this job, create none")
    parser.add_argument("--interval", type=float, default=10, help="seconds between looks at the job")
    parser.add_argument("flags", nargs="*", help="of train.py, after --")
    args = parser.parse_args()
    for flag in ("config", "data_url", "train_url", "flavor"):
        if not args.job and not getattr(args, flag):
            parser.error(f"--{flag} is missing")
    if not args.job and not (args.engine or args.image):
        parser.error("--engine or --image is missing")
    return args


def request(args: argparse.Namespace) -> dict[str, Any]:
    """The body of POST /v2/{project}/training-jobs."""
    recipe = Path(args.config).resolve()
    if not recipe.is_file() or not recipe.is_relative_to(ROOT / "config"):
        raise UserError(f"--config {args.config}: no recipe under {ROOT / 'config'}, which is what the job gets")
    values = {"config": recipe.relative_to(ROOT).as_posix(), "enable_modelarts": "True", "resume_ckpt": "auto"}
    values |= {"data_url": args.data_url, "train_url": args.train_url.rstrip("/") + "/run"}
    for flag, value in zip(args.flags[::2], args.flags[1::2] + [""] * (len(args.flags) % 2), strict=True):
        if not flag.startswith("--") or not value:
            raise UserError(f"after --, write pairs such as --batch_size 4: {flag} {value}")
        values[flag[2:]] = value
    code = "/" + code_url(args).partition("://")[2] + "/"
    return {
        "kind": "job",
        "metadata": {
            "name": args.name or f"{recipe.stem}-{time.strftime('%Y%m%d-%H%M%S')}"[-64:],
            "annotations": {"fault-tolerance/job-retry-num": str(args.retries)} if args.retries else {},
        },
        "algorithm": {
            "code_dir": code,
            "boot_file": f"{code}train.py",
            "engine": {"engine_id": args.engine} if args.engine else {"image_url": args.image},
            "parameters": [{"name": name, "value": value} for name, value in values.items()],
        },
        "spec": {
            "resource": {"flavor_id": args.flavor, "node_count": args.nodes},
            "log_export_path": {"obs_url": args.train_url.rstrip("/") + "/log/"},
        },
    }


def code_url(args: argparse.Namespace) -> str:
    return args.train_url.rstrip("/") + "/code"


def upload_code(url: str) -> None:
    """What train.py and eval.py need; what is no more goes from the bucket, too."""
    files = [ROOT / name for name in ("train.py", "eval.py", "requirements.txt")]
    files += [
        file for name in ("config", "src") for file in (ROOT / name).rglob("*") if "__pycache__" not in file.parts
    ]
    names = {file.relative_to(ROOT).as_posix() for file in files if file.is_file()}
    bucket.push(ROOT, names, url, outdated=lambda stored: stored - names)


class Job:
    """Calls of ModelArts, tried again while it is busy."""

    def __init__(self) -> None:
        try:
            from huaweicloudsdkcore import exceptions
            from huaweicloudsdkcore.auth.credentials import BasicCredentials
            from huaweicloudsdkmodelarts import v1
        except ImportError:
            raise UserError("this needs the package huaweicloudsdkmodelarts: pip install '.[modelarts]'") from None
        if missing := [key for key in KEYS if not os.environ.get(key)]:
            raise UserError(f"{', '.join(missing)}: not in the environment")
        endpoint, project, access, secret = (os.environ[key] for key in KEYS)
        keys = BasicCredentials(access, secret, project)
        if token := os.environ.get("OBS_SECURITY_TOKEN"):
            keys.with_security_token(token)
        self.sdk, self.errors, self.endpoint = v1, exceptions, endpoint
        self.client = v1.ModelArtsClient.new_builder().with_credentials(keys).with_endpoints([endpoint]).build()

    def call(self, method: Callable[[Any], Any], about: Any) -> Any:
        for pause in (1, 2, 4, 8, None):
            try:
                return method(about)
            except self.errors.ServiceResponseException as error:
                if error.status_code not in (429, 500, 502, 503, 504) or pause is None:
                    text = f"{error.status_code} {error.error_code}: {error.error_msg}"
                    raise UserError(f"{self.endpoint} refuses: {text}") from None
            except self.errors.SdkException as error:
                if pause is None or method == self.client.create_training_job:  # it may have been heard
                    raise UserError(f"{self.endpoint}: {error.error_msg}") from None
            time.sleep(pause)

    def create(self, body: dict[str, Any]) -> str:
        about = self.sdk.CreateTrainingJobRequest(body=body)
        return self.call(self.client.create_training_job, about).metadata.id

    def follow(self, job: str, interval: float) -> None:
        """Print state and log until the job ends. Raises UserError unless it is completed."""
        phase, printed = "", {}
        while phase not in ENDED:
            if phase:
                time.sleep(interval)
            about = self.sdk.ShowTrainingJobDetailsRequest(training_job_id=job)
            status = self.call(self.client.show_training_job_details, about).status
            for task in status.tasks or []:
                about = self.sdk.ShowTrainingJobLogsPreviewRequest(training_job_id=job, task_id=task)
                log = self.call(self.client.show_training_job_logs_preview, about)
                new = (log.full_size or 0) - printed.get(task, 0)  # bytes; the answer holds the last of them
                if new > 0:
                    print((log.content or "").encode()[-new:].decode(errors="replace"), end="", flush=True)
                    printed[task] = log.full_size
            if status.phase != phase:
                phase = status.phase
                print(f"[{time.strftime('%H:%M:%S')}] {job}: {phase}", flush=True)
        if phase != "Completed":
            raise UserError(f"the job ended as {phase}")

    def stop(self, job: str) -> None:
        about = self.sdk.StopTrainingJobRequest(job, self.sdk.JobActionType("terminate"))
        self.call(self.client.stop_training_job, about)


def main() -> None:
    args = parse()
    if not args.job:
        body = request(args)
        if args.dry_run:
            print(json.dumps(body, indent=1, ensure_ascii=False))
            return
    service, job = Job(), args.job
    if not job:
        upload_code(code_url(args))
        job = service.create(body)
    while True:
        try:
            return service.follow(job, args.interval)
        except KeyboardInterrupt:
            try:
                answer = input(f"\n{job}: s stops it, anything else leaves it running: ")
            except (EOFError, KeyboardInterrupt):
                answer = ""
            if answer != "s":
                print(f"\nit goes on; python scripts/submit_modelarts.py --job {job} looks at it again")
                return None
            service.stop(job)


if __name__ == "__main__":
    sys.exit(errors.run(main))
