"""Mutation testing: breaks the program in many places, one at a time, and checks that a test fails.

    python tests/faults/mutations.py [--only TEXT]

Each mutation is applied in a copy of the repository; the tests of that part run until the first failure. Exit status 1
if a mutation is not detected.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Mutation(NamedTuple):
    name: str
    file: str
    right: str
    wrong: str
    tests: str


MUTATIONS = (
    Mutation(
        "mean of the loss over all pixels instead of the valid ones",
        "training/losses.py",
        "ops.maximum(self.mean_over_ranks(weights.sum()), Tensor(1e-6, float32))",
        "labels.size",
        "training/test_losses.py",
    ),
    Mutation(
        "momentum of BatchNorm",
        "models/layers.py",
        "BatchNorm2d(out_channels, norm_eps)",
        "BatchNorm2d(out_channels, norm_eps, 0.99)",
        "weights",
    ),
    Mutation(
        "align_corners with the scale of the sizes",
        "models/resize.py",
        "position *= (in_size - 1) / max(1, out_size - 1)",
        "position *= in_size / out_size",
        "models",
    ),
    Mutation(
        "the taps of a convolution of resized maps in the wrong order",
        "models/resize.py",
        "weight.transpose(3, 0, 2, 1)",
        "weight.transpose(2, 0, 3, 1)",
        "models/test_resize.py",
    ),
    Mutation(
        "the loss of the validation counts ignored pixels",
        "inference/network.py",
        "(log_probabilities * valid.astype(ms.float32))",
        "log_probabilities",
        "inference/test_predictor.py",
    ),
    Mutation(
        "softmax of the soft regions over the classes", "models/heads.py", "-1), axis=2)", "-1), axis=1)", "models"
    ),
    Mutation(
        "label map: trucks and buses",
        "formats/cityscapes.py",
        'Label("truck", 27, 14',
        'Label("truck", 27, 15',
        "data",
    ),
    Mutation(
        "crop shifted by a pixel",
        "data/transforms.py",
        "slice(part.start - first,",
        "slice(part.start - first + 1,",
        "data",
    ),
    Mutation(
        "learning rate without min_lr",
        "training/schedule.py",
        "config.min_lr + (config.lr - config.min_lr) * (1 - step",
        "config.lr * (1 - step",
        "training/test_schedule.py",
    ),
    Mutation(
        "transposed confusion matrix",
        "evaluation/metrics.py",
        "label[valid].astype(np.int64) * size + prediction[valid]",
        "prediction[valid].astype(np.int64) * size + label[valid]",
        "evaluation/test_metrics.py",
    ),
    Mutation(
        "loss scale missing in a checkpoint",
        "training/step.py",
        "if isinstance(value, Parameter)}",
        "if False}",
        "training/test_train_and_eval.py",
    ),
    Mutation(
        "weight decay of BatchNorm and bias",
        "training/parameter_groups.py",
        "parameter.ndim > 1",
        "parameter.ndim > 0",
        "training/test_parameter_groups.py",
    ),
    Mutation(
        "best.ckpt replaced for any score",
        "training/run_progress.py",
        "score > best)",
        "True)",
        "training/test_resuming.py",
    ),
    Mutation(
        "evaluation before saving",
        "training/trainer.py",
        "if step > self.saver.step:",
        "if step > self.saver.step and not evaluates:",
        "training/test_resuming.py",
    ),
    Mutation(
        "remaining steps from the current batch size",
        "training/run_progress.py",
        "config.total_step * self.step_samples - self.samples",
        "config.total_step * step_samples - self.samples",
        "training/test_run_progress.py",
    ),
    Mutation(
        "a resumed epoch restarts from its beginning",
        "data/loader.py",
        "epoch * self.epoch_size + shown - first",
        "epoch * self.epoch_size - first",
        "training/test_run_progress.py",
    ),
    Mutation(
        "a lock that two runs can hold",
        "training/run_lock.py",
        "fcntl.LOCK_EX",
        "fcntl.LOCK_SH",
        "training/test_run_lock.py",
    ),
    Mutation(
        "an unreadable file treated as damaged",
        "weights/ckpt.py",
        'raise UserError(f"{path}: cannot read this checkpoint: {trouble}")',
        'raise DamagedCheckpoint(f"{path}: cannot read this checkpoint: {trouble}")',
        "training/test_checkpoint.py",
    ),
    Mutation(
        "an archived run not found",
        "training/checkpoint.py",
        "if earlier := self._earlier_run():",
        "if earlier := None:",
        "training/test_checkpoint.py",
    ),
    Mutation(
        "later checkpoints kept when an older one is resumed",
        "training/checkpoint.py",
        "if number > step]",
        "if number > step + 100]",
        "training/test_checkpoint.py",
    ),
    Mutation(
        "evaluation with another mean than in training",
        "config/compatibility.py",
        '"evaluate": {*_NETWORK, *_INPUT},',
        '"evaluate": _NETWORK,',
        "training/test_resuming.py",
    ),
    Mutation(
        "class order not compared",
        "config/compatibility.py",
        "before[index] != name):",
        "False):",
        "training/test_checkpoint.py",
    ),
    Mutation(
        "a class index equal to ignore_index treated as ignored",
        "formats/label_values.py",
        "target if target < count else IGNORED",
        "IGNORED if target == ignore_index else target",
        "formats/test_label_values.py",
    ),
    Mutation(
        "a label value both a class and ignored",
        "formats/label_values.py",
        "index = resolved.get(ignore_index, IGNORED)",
        "index = IGNORED",
        "formats/test_label_values.py",
    ),
    Mutation(
        "reordered class names with the default label map",
        "formats/known.py",
        "if moved or len(names) != len(known.classes):",
        "if len(names) != len(known.classes):",
        "formats/test_known_data_sets.py",
    ),
    Mutation(
        "True accepted as the number 1",
        "config/types.py",
        "if isinstance(value, bool):  # Python",
        "if value is None:  # Python",
        "config/test_config.py",
    ),
    Mutation(
        "mixed precision without a loss scale",
        "config/schema.py",
        '"dynamic" if scaled else "none"',
        '"none"',
        "config/test_config.py",
    ),
    Mutation(
        "paths parsed as YAML",
        "config/loading.py",
        "if field and is_text(field.annotation):",
        "if not field:",
        "config/test_command_line.py",
    ),
    Mutation(
        "a key without effect not reported",
        "config/combinations.py",
        "lambda c: not c.schedule.warmup_steps, ",
        'lambda c: c.schedule.kind == "linear", ',
        "config/test_combinations.py",
    ),
    Mutation(
        "label values of samples before a resume not recorded",
        "data/loader.py",
        "if number < self.first + self.watched else None",
        "if number < self.watched else None",
        "data/test_loader.py",
    ),
    Mutation(
        "a byte-order mark read as part of a name",
        "files.py",
        '"utf-16" if utf16 else "utf-8-sig"',
        '"utf-16" if utf16 else "utf-8"',
        "data/test_datasets.py",
    ),
    Mutation(
        "HRNet's fuse step with one resize",
        "models/hrnet.py",
        "through = (factor * height, factor * width) if self.two_steps else None",
        "through = None",
        "weights",
    ),
    Mutation(
        "HRNet-OCR's fuse step with two resizes",
        "models/hrnet.py",
        'fuse == "bilinear" and not align_corners',
        'fuse == "bilinear"',
        "scripts/test_export.py",
    ),
    Mutation(
        "ONNX upsamples by 2 instead of 4 or 8",
        "inference/onnx_operators.py",
        "onnx.constant(np.array([1, 1, *factors], np.float32))",
        "onnx.constant(np.array([1, 1, 2, 2], np.float32))",
        "scripts/test_export.py",
    ),
    Mutation(
        "an OpenVINO graph for every size",
        "inference/engines.py",
        "sizes = sizes if is_frequent(sizes) else None",
        "pass",
        "scripts/test_export.py",
    ),
    Mutation("safetensors not detected by their first bytes", "weights/foreign_files.py", 'b"{"', 'b"["', "weights"),
    Mutation(
        "a ReLU in a stem that was trained without it",
        "models/hrnet.py",
        "if self.stem_relu:",
        "if True:",
        "weights",
    ),
    Mutation(
        "symmetric padding for PaddleSeg",
        "models/hrnet.py",
        'if stride_padding == "same":',
        "if False:",
        "weights",
    ),
    Mutation("object numbers of a pickle not checked", "weights/pickles.py", "argument > number", "False", "weights"),
    Mutation(
        "all Pillow formats allowed, including PostScript",
        "data/images.py",
        "formats=FORMATS)",
        "formats=None)",
        "data/test_one_reader.py",
    ),
    Mutation(
        "two files with the same output name",
        "data/output_names.py",
        "if key in self.names or files & self.folders or folders & self.files:",
        "if files & self.folders or folders & self.files:",
        "data/test_output_names.py",
    ),
    Mutation(
        "ranks of MPICH and Intel MPI not detected",
        "distributed/launcher.py",
        'if "PMI_RANK" in env and "MPI_LOCALRANKID" in env:',
        'if "PMI_RANK" in env and "MPI_LOCALRANK" in env:',
        "distributed/test_launchers.py",
    ),
    Mutation(
        "images with EXIF orientation rotated the wrong way",
        "data/images.py",
        "if orientation in (3, 4, 7, 8):",
        "if orientation in (3, 4, 6, 8):",
        "data/test_one_reader.py",
    ),
    Mutation(
        "alpha blended with black",
        "data/images.py",
        "+ 255 * (1 - alpha)",
        "+ 0 * (1 - alpha)",
        "data/test_one_reader.py",
    ),
    Mutation(
        "4-bit labels scaled to 0, 17, 34",
        "data/images.py",
        'if image.mode == "L" and bits in (2, 4):',
        'if image.mode == "L" and bits in (2,):',
        "data/test_one_reader.py",
    ),
    Mutation(
        "MATLAB labels decompressed without a limit",
        "data/mat_labels.py",
        "if self.left < 0:",
        "if False:",
        "data/test_one_reader.py",
    ),
    Mutation(
        "playlists accepted as videos",
        "inference/media.py",
        "if not _CONTAINERS.match(start):",
        "if not start:",
        "data/test_one_reader.py",
    ),
    Mutation(
        "a child process of a rank detected as the rank",
        "distributed/launcher.py",
        "if _RANK_VARIABLE in env:\n        return None",
        "if False:\n        return None",
        "distributed/test_launchers.py",
    ),
    Mutation(
        "unknown launchers accepted",
        "runtime/program.py",
        "launcher.require_known_launcher()",
        "pass",
        "distributed/test_launchers.py",
    ),
    Mutation(
        "zero tensors of SGD that a cached step does not have",
        "training/optimizer.py",
        'self.stats = self.parameters.clone(STATS, "zeros")',
        'object.__setattr__(self, "stats", self.parameters.clone(STATS, "zeros"))',
        "training/test_compile_cache.py",
    ),
    Mutation(
        "published weights without a look at their checksum",
        "zoo/download.py",
        "if not found.startswith(sha256):",
        "if False:",
        "zoo/test_download.py",
    ),
    Mutation(
        "a download resumed with bytes of another version",
        "zoo/download.py",
        "if answer.status_code != requests.codes.partial_content:",
        "if False:",
        "zoo/test_download.py",
    ),
    Mutation(
        "published weights of sssegmentation with the ReLU that they were trained without",
        "zoo/published.py",
        'return {"model.stem_relu": False} if old else {}',
        "return {}",
        "inference/test_sources.py",
    ),
    Mutation(
        "random weights instead of published ones without a word",
        "training/pretrained.py",
        "print(_warning(str(error)), file=sys.stderr)",
        "pass",
        "training/test_pretrained.py",
    ),
    Mutation(
        "a Pillow image without its orientation",
        "data/images.py",
        "        pixels = flatten(path, image)\n    return _apply_orientation(pixels, _orientation(image))",
        "        pixels = flatten(path, image)\n    return pixels",
        "inference/test_model.py",
    ),
)


def first_failure(root: Path, tests: str, marked: str) -> str:
    """Returns the first test that fails; "" if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", marked, f"tests/{tests}"]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True).stdout
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return failed[0] if failed else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only mutations with this text in their name")
    only = parser.parse_args().only
    undetected = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        for mutation in (mutation for mutation in MUTATIONS if only in mutation.name):
            file = copy / "src" / "ocrnet" / mutation.file
            text = file.read_text(encoding="utf-8")
            if text.count(mutation.right) != 1:
                raise SystemExit(f"{mutation.file}: {text.count(mutation.right)} places look like {mutation.right!r}")
            file.write_text(text.replace(mutation.right, mutation.wrong), encoding="utf-8")
            failed = first_failure(copy, mutation.tests, "not slow") or first_failure(copy, mutation.tests, "slow")
            file.write_text(text, encoding="utf-8")
            undetected += not failed
            print(f"{mutation.name}: {failed or 'NOT DETECTED'}", flush=True)
    return 1 if undetected else 0


if __name__ == "__main__":
    sys.exit(main())
