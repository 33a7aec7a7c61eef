"""Benchmark OCRNet and, with --peer, mmsegmentation on the same task.

    python scripts/benchmark.py --work forward      # 1x3x512x1024, class of each pixel
    python scripts/benchmark.py --work engines      # the same with ONNX Runtime and OpenVINO
    python scripts/benchmark.py --work training     # a step of 2 crops of 256x512
    python scripts/benchmark.py --work compile      # the first training step, without and with --compile_cache
    python scripts/benchmark.py --work pipeline     # samples of 512x1024 from 1024x2048 PNG pairs, 1 and 2 workers
    python scripts/benchmark.py --work packed       # the same from a packed file
    python scripts/benchmark.py --work evaluate     # 480x360 PNG pairs to the confusion matrix
    python scripts/benchmark.py --work multiscale   # the same with six ratios and mirrored images
    python scripts/benchmark.py --work first        # the first ten images of it in a new process
    python scripts/benchmark.py --work predict      # 480x360 PNG files to class maps
    python scripts/benchmark.py --work training --peer peer/bin/python      # see requirements-peer.txt
    python scripts/benchmark.py --work training --before ../earlier         # another checkout of this repository

Each candidate is a separate process; only one works at a time. After each run, a 2048x2048x2048 matrix product of NumPy
is timed. Prints median, minimum and maximum, the ratio to the first row of the peer, of --before or of all, the peak
memory of the process, and for networks the time of their multiply-adds at the speed of the matrix product.
--output FILE.json: all numbers.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np

from ocrnet import errors
from ocrnet.runtime import device, program

SAMPLES = 32  # samples of a data pipeline per run
ENGINES = ("mindspore", "onnxruntime-fp32", "openvino-fp32", "openvino-bf16")
EVALUATED = {"evaluate": 4, "multiscale": 1, "predict": 4, "first": 10}
"""Images per run."""
WORKS = {
    # work: (our candidates, the peer's work and candidates)
    "forward": (["mindspore"], "forward", ["eager", "channels_last"]),
    "engines": (
        ["mindspore", "onnxruntime-fp32", "openvino-fp32", "openvino-bf16", "openvino-int8"],
        "forward",
        ["eager", "channels_last"],
    ),
    "evaluate": (list(ENGINES), "evaluate", ["eager", "channels_last"]),
    "multiscale": (list(ENGINES), "multiscale", ["eager", "channels_last"]),
    "first": (list(ENGINES), "", []),
    "predict": (list(ENGINES), "predict", ["eager", "channels_last"]),
    "training": (["mindspore"], "training", ["eager", "channels_last"]),
    "compile": (["cold", "cached"], "", []),
    "pipeline": (["1-worker", "2-workers"], "pipeline", [str(SAMPLES)]),
    "packed": (["1-worker", "packed"], "pipeline", [str(SAMPLES)]),
}
Work = Callable[[], object]


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def forward(how: str, backbone: str) -> Work:
    """Returns a function that computes the classes of one 512x1024 image."""
    from ocrnet.config import Config
    from ocrnet.inference.engines import Engine
    from ocrnet.inference.outputs import NetworkOutputs
    from ocrnet.models.ocrnet import OCRNet

    config = Config(model={"backbone": backbone})
    network = OCRNet(config.model, 19).set_train(False)
    batch, size = images(1, 3, 512, 1024), (512, 1024)
    if how == "mindspore":
        classes = NetworkOutputs(network, config, compile_first=True).classes
    else:
        calibration = images(4, 1, 3, 512, 1024)
        classes = Engine(network, *how.split("-"), calibration=lambda: calibration).classes
    return lambda: classes(batch, size)


def training(how: str, backbone: str, cache: Path | None = None) -> Work:
    """Returns a function that runs one training step on 2 crops of 256x512."""
    from mindspore import Tensor, float32

    from ocrnet.config import Config
    from ocrnet.models.ocrnet import OCRNet
    from ocrnet.training.compile_cache import compile_step
    from ocrnet.training.losses import OCRLoss
    from ocrnet.training.optimizer import make_optimizer
    from ocrnet.training.step import TrainOneStep

    config = Config(model={"backbone": backbone}, data={"crop_size": (256, 512)})
    loss_network = OCRLoss(OCRNet(config.model, 19), config.loss, 19, align_corners=False)
    step = TrainOneStep(loss_network, make_optimizer(config.optimizer, loss_network), None).set_train(True)
    if cache:
        compile_step(step, config, cache)
    batch = Tensor(images(2, 3, 256, 512))
    labels = Tensor(np.random.default_rng(0).integers(0, 19, (2, 256, 512)).astype(np.int32))
    lr = Tensor(0.01, float32)
    return lambda: step(batch, labels, lr)[0].asnumpy()


def pipeline(how: str, data: Path) -> Work:
    """Returns a function that loads training batches of 2."""
    from ocrnet.config import DataConfig
    from ocrnet.data.loader import TrainingSamples, training_batches
    from ocrnet.data.splits import open_dataset

    packed = data / "train.packed" if how == "packed" else None
    config = DataConfig(root=data, workers=2 if how == "2-workers" else 1, packed=packed)
    dataset = open_dataset(config, "train")
    return lambda: list(training_batches(TrainingSamples(dataset, config, 0, 2, 0, SAMPLES), 2))


def evaluation(how: str, backbone: str, data: Path, work: str) -> Work:
    """Returns a function that predicts images of 480x360, and but for `predict` computes the confusion matrix."""
    from ocrnet.config import Config
    from ocrnet.data.splits import open_dataset
    from ocrnet.evaluation.evaluator import Evaluator
    from ocrnet.inference.engines import make_engine
    from ocrnet.inference.predictor import Predictor
    from ocrnet.models.ocrnet import OCRNet

    multi_scale = work in ("multiscale", "first")
    config = Config(model={"backbone": backbone}, data={"root": data}, eval={"multi_scale": multi_scale})
    network = OCRNet(config.model, 19).set_train(False)
    engine, _, precision = how.partition("-")
    dataset = open_dataset(config.data, "val")
    predictor = Predictor(network, config, engine=make_engine(engine, precision or "fp32", network, config))
    if work == "predict":
        return lambda: [predictor([dataset.open(number)[0][:, :]]) for number in range(len(dataset))]
    return Evaluator(predictor, dataset, config).evaluate


def serve(work: str, how: str, backbone: str, data: Path) -> None:
    """Runs a candidate: warms up, prints "ready", and prints seconds and peak memory for each input line."""
    device.init("CPU" if work in ("pipeline", "packed") else None, 0, seed=0)
    if work in ("pipeline", "packed"):
        run = pipeline(how, data)
    elif work in EVALUATED:
        run = evaluation(how, backbone, data, work)
    else:
        run = training(how, backbone) if work == "training" else forward(how, backbone)
    for _ in range(2):
        run()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(seconds(run), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, flush=True)


def first_step(how: str, backbone: str, data: Path) -> None:
    """Prints seconds and peak memory of building, compiling and running one training step, minus a second step."""
    device.init(None, 0, seed=0)
    built: list[Work] = []

    def start() -> None:
        built.append(training("mindspore", backbone, data if how == "cached" else None))
        built[0]()

    spent = seconds(start)
    print(spent - seconds(built[0]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def first_images(how: str, backbone: str, data: Path) -> None:
    """Prints seconds and peak memory of the multi-scale evaluation of the first images."""
    device.init(None, 0, seed=0)
    spent = seconds(lambda: evaluation(how, backbone, data, "first")())
    print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


STARTS = {"compile": first_step, "first": first_images}
"""Works of a new process for each run."""


def seconds(work: Work) -> float:
    """Returns the wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Candidate:
    """A process that runs the work on request; with `once`, a new process for each run."""

    def __init__(self, name: str, command: list, once: bool = False) -> None:
        self.name, self.command, self.once = name, list(map(str, command)), once
        self.seconds: list[float] = []
        self.peak_GB = 0.0
        self.process = None if once else self._start()
        if self.process:
            self._wait_for("ready")

    def _start(self) -> subprocess.Popen:
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with device.without_isa_limit():  # each process selects its CPU instructions itself
            return subprocess.Popen(self.command, **pipes)

    def _wait_for(self, *beginnings: str) -> str:
        for line in self.process.stdout:
            if line.startswith(beginnings):
                return line
        raise errors.UserError(f"{self.name}: ended too early; run {' '.join(self.command)} to see its error")

    def run(self) -> None:
        if self.once:
            self.process = self._start()
        else:
            self.process.stdin.write("again\n")
            self.process.stdin.flush()
        spent, peak = map(float, self._wait_for(*"0123456789").split())
        self.seconds.append(spent)
        self.peak_GB = max(self.peak_GB, peak)
        if self.once:
            self.close()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def candidates(args: argparse.Namespace, data: Path) -> Iterator[Candidate]:
    ours, peer_work, theirs = WORKS[args.work]
    for name, root in {"ocrnet": ROOT, "before": args.before}.items():
        for how in ours if root else []:
            script = root / "scripts" / "benchmark.py"
            command = [sys.executable, script, "--serve", args.work, how, args.backbone, data]
            yield Candidate(f"{name} {how}", command, once=args.work in STARTS)
    for how in theirs if args.peer else []:
        command = [args.peer, Path(__file__).with_name("benchmark_peer.py"), peer_work, how, args.backbone, data]
        yield Candidate(f"mmsegmentation {how if peer_work != 'pipeline' else '1-worker'}", command)


def make_data(folder: Path, work: str) -> None:
    """Writes the images of a work, and the packed file for `packed`."""
    script = ROOT / "scripts" / "make_demo_data.py"
    size = ["--train", 8, "--val", 1, "--width", 2048, "--height", 1024]
    if work in EVALUATED:
        size = ["--train", 1, "--val", EVALUATED[work], "--width", 480, "--height", 360]
    subprocess.run(list(map(str, [sys.executable, script, "--output", folder, *size])), check=True, capture_output=True)
    if work == "packed":
        from ocrnet.config import DataConfig
        from ocrnet.data.packed import pack
        from ocrnet.data.splits import open_dataset

        dataset = open_dataset(DataConfig(root=folder), "train")
        pack(dataset, folder / "train.packed", range(len(dataset)))


def gflop(work: str, backbone: str) -> float | None:
    """Returns the GFLOP of the work; a training step has three times those of a forward pass."""
    from ocrnet.config import ModelConfig
    from ocrnet.models.complexity import count_flops
    from ocrnet.models.ocrnet import OCRNet

    if work not in ("forward", "engines", "training"):
        return None
    device.init("CPU", 1)
    network = OCRNet(ModelConfig(backbone=backbone), 19)
    return (count_flops(network, 512, 1024) if work != "training" else 6 * count_flops(network, 256, 512)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", choices=list(WORKS), default="forward")
    parser.add_argument("--backbone", default="hrnet_w18_small")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peer", metavar="PYTHON", help="the Python of an environment with mmsegmentation")
    parser.add_argument("--before", metavar="CHECKOUT", type=Path, help="measure another checkout in turn")
    parser.add_argument("--output", metavar="FILE.json", type=Path)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        work, how, backbone, data = args.serve
        if work in STARTS:
            return STARTS[work](how, backbone, Path(data))
        return serve(work, how, backbone, Path(data))

    matrix = images(2048, 2048)
    products: list[float] = []
    with tempfile.TemporaryDirectory(prefix="ocrnet-benchmark-") as folder:
        if args.work in ("pipeline", "packed", *EVALUATED):
            make_data(Path(folder), args.work)
        rows = list(candidates(args, Path(folder)))
        for row in rows:
            if row.name.endswith("cached"):
                row.run()  # fills the cache
                row.seconds.clear()
        for _ in range(args.repeats):
            for row in rows:
                row.run()
                products.append(seconds(lambda: matrix @ matrix))
        for row in rows:
            row.close()
    result = summary(args, rows, products)
    if args.output:
        errors.write_text(args.output, json.dumps(result, indent=1))


def summary(args: argparse.Namespace, rows: list[Candidate], products: list[float]) -> dict:
    """Prints the results as a table and returns them."""
    units, unit = 1, "s"
    if args.work in ("pipeline", "packed"):
        units, unit = SAMPLES, "s/sample"
    elif args.work in EVALUATED and args.work not in STARTS:
        units, unit = EVALUATED[args.work], "s/image"
    rate = 2 * 2048**3 / statistics.median(products) / 1e9
    work_gflop = gflop(args.work, args.backbone)
    baseline = next((row for name in ("mmseg", "before") for row in rows if row.name.startswith(name)), rows[0])
    table = []
    for row in rows:
        spent = [value / units for value in row.seconds]
        table.append(
            {
                "name": row.name,
                "median_s": statistics.median(spent),
                "min_s": min(spent),
                "max_s": max(spent),
                "ratio": statistics.median(row.seconds) / statistics.median(baseline.seconds),
                "peak_memory_GB": row.peak_GB,
                "seconds": spent,
            }
        )
    print(f"{args.work}, {args.backbone}, {args.repeats} rounds; NumPy's 2048³ product: {rate:.0f} GFLOP/s")
    if work_gflop:
        print(f"{work_gflop:.1f} GFLOP take {work_gflop / rate:.3f} s at that rate")
    print(f"{'':<32}{'median ' + unit:>18}{'min':>9}{'max':>9}{'ratio':>8}{'peak GB':>9}")
    for row in table:
        print(
            f"{row['name']:<32}{row['median_s']:>18.4f}{row['min_s']:>9.4f}{row['max_s']:>9.4f}{row['ratio']:>8.2f}"
            f"{row['peak_memory_GB']:>9.2f}"
        )
    limit = {"gflop": work_gflop, "limit_s": work_gflop and work_gflop / rate}
    return {"work": args.work, "backbone": args.backbone, "product_s": products, **limit, "rows": table}


if __name__ == "__main__":
    sys.exit(program.run(main))
