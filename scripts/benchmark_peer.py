"""The same tasks with mmsegmentation, for benchmark.py --peer; runs in the environment of mmsegmentation.

peer/bin/python scripts/benchmark_peer.py training channels_last      # see requirements-peer.txt
"""

import os
import resource
import sys
import time
import warnings
from collections.abc import Callable

from absent_module import Absent

warnings.filterwarnings("ignore")
sys.modules["mmcv.ops"] = Absent("mmcv.ops")

import cv2
import mmseg
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.datasets import CityscapesDataset
from mmseg.evaluation import IoUMetric
from mmseg.models import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

CONFIGS = {"hrnet_w18_small": "hr18s_4xb2-40k", "hrnet_w18": "hr18_4xb2-40k", "hrnet_w48": "hr48_4xb2-40k"}


def config_file(backbone: str) -> Config:
    folder = os.path.join(os.path.dirname(mmseg.__file__), ".mim", "configs", "ocrnet")
    return Config.fromfile(os.path.join(folder, f"ocrnet_{CONFIGS[backbone]}_cityscapes-512x1024.py"))


def replace_sync_batch_norm(tree) -> None:
    """Replaces SyncBatchNorm by BatchNorm, as mmsegmentation does for a single process."""
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict) and value.get("type") == "SyncBN":
            value["type"] = "BN"
        if isinstance(value, dict | list | tuple):
            replace_sync_batch_norm(value)


def network(how: str, backbone: str) -> torch.nn.Module:
    model = config_file(backbone).model
    model.pretrained = None
    replace_sync_batch_norm(model)
    built = MODELS.build(model)
    return built.to(memory_format=torch.channels_last) if how == "channels_last" else built


def forward(how: str, backbone: str, data: str) -> Callable[[], object]:
    model = network(how, backbone).eval()
    images = torch.randn(1, 3, 512, 1024)

    @torch.inference_mode()
    def work():
        return model.encode_decode(images, [dict(img_shape=(512, 1024))]).argmax(1)

    return work


def training(how: str, backbone: str, data: str) -> Callable[[], object]:
    model = network(how, backbone).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images, samples = torch.randn(2, 3, 256, 512), []
    for _ in range(2):
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, 256, 512)))))
    if how == "channels_last":
        images = images.to(memory_format=torch.channels_last)

    def work():
        losses = model.loss(images, samples)
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if "loss" in name).backward()
        optimizer.step()

    return work


def pipeline(how: str, backbone: str, data: str) -> Callable[[], object]:
    """Returns a function that loads training samples of 512x1024 one by one, like one worker of a data loader."""
    dataset = CityscapesDataset(
        data_root=data,
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
        seg_map_suffix="_gtFine_labelIds.png",
        pipeline=config_file(backbone).train_dataloader.dataset.pipeline,
    )
    return lambda: [dataset[number % len(dataset)] for number in range(int(how))]


def test_data(backbone: str, data: str, multi_scale: bool) -> CityscapesDataset:
    """The validation images at their own size."""
    config = config_file(backbone)
    pipeline = config.tta_pipeline if multi_scale else [step for step in config.test_pipeline if step.type != "Resize"]
    return CityscapesDataset(
        data_root=data,
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        seg_map_suffix="_gtFine_labelIds.png",
        pipeline=pipeline,
        test_mode=True,
    )


def evaluate(how: str, backbone: str, data: str, multi_scale: bool = False) -> Callable[[], object]:
    """Returns a function with the steps of mmengine's TestLoop: one image at a time, to the confusion matrix."""
    dataset, metric = test_data(backbone, data, multi_scale), IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = dataset.metainfo
    model = network(how, backbone)
    if multi_scale:
        model = SegTTAModel(module=model)
    model.eval()

    @torch.inference_mode()
    def work():
        for number in range(len(dataset)):
            batch = pseudo_collate([dataset[number]])
            metric.process(batch, [sample.to_dict() for sample in model.test_step(batch)])
        metric.results.clear()

    return work


def multiscale(how: str, backbone: str, data: str) -> Callable[[], object]:
    return evaluate(how, backbone, data, multi_scale=True)


def predict(how: str, backbone: str, data: str) -> Callable[[], object]:
    dataset, model = test_data(backbone, data, multi_scale=False), network(how, backbone).eval()
    dataset.pipeline.transforms = [
        step for step in dataset.pipeline.transforms if type(step).__name__ != "LoadAnnotations"
    ]

    @torch.inference_mode()
    def work():
        return [model.test_step(pseudo_collate([dataset[number]])) for number in range(len(dataset))]

    return work


def main() -> None:
    work, how, backbone, data = sys.argv[1:]
    cv2.setNumThreads(0)
    init_default_scope("mmseg")
    works = (forward, training, pipeline, evaluate, multiscale, predict)
    run = {function.__name__: function for function in works}[work](how, backbone, data)
    for _ in range(2):
        run()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        run()
        seconds = time.perf_counter() - started
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, flush=True)


if __name__ == "__main__":
    main()
