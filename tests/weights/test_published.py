"""With the same weights, logits, losses, gradients and running statistics equal those of the published projects."""

from functools import cache

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from compare_with_peers import predict
from known_weights import odd_input
from ocrnet.config import LossConfig, ModelConfig
from ocrnet.models.complexity import count_flops, count_parameters
from ocrnet.models.ocrnet import OCRNet
from ocrnet.models.resize import resize
from ocrnet.training.losses import OCRLoss
from peers import (
    CLASS_PLACES,
    DATA,
    PLACES,
    SHARED,
    Golden,
    at_places,
    converted,
    golden_batch,
    golden_input,
    model_config,
)

SMALL = sorted(DATA.glob("golden_*.npz"))
WHOLE = sorted(SHARED.glob("*.json")) if SHARED.is_dir() else []
needs_shared = pytest.mark.skipif(not WHOLE, reason="the complete reference files are not in the repository")


def check_logits(golden: Golden) -> None:
    network = OCRNet(golden.model, 19)
    converted(network, golden.source, golden.tensors())
    network.set_train(False)
    main, auxiliary = network(Tensor(golden_input()))
    limit = 5 * golden.error  # the error of the other project's float32 against its float64
    assert np.abs(main.asnumpy()[:, :, golden.rows] - golden.main).max() <= limit[0]
    assert np.abs(auxiliary.asnumpy()[:, :, golden.auxiliary_rows] - golden.auxiliary).max() <= limit[1]
    if golden.final_argmax is not None:
        final = resize(main, (128, 256), "bilinear", golden.model.align_corners).asnumpy()
        first, second = np.sort(final, axis=1)[:, -1], np.sort(final, axis=1)[:, -2]
        # classes may differ only if the best two logits are closer than rounding errors, which depend on the processor
        clear = first - second > 2 * golden.error[0]
        assert (final.argmax(axis=1) == golden.final_argmax)[clear].all() and clear.mean() > 0.99
        step = 256 // golden.final_row64.shape[2]
        assert np.abs(final[:, :, 64, ::step] - golden.final_row64).max() <= limit[0]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_logits_equal_the_reference(path) -> None:
    check_logits(Golden(path))


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_all_logits_equal_the_reference(path) -> None:
    check_logits(Golden(path))


ODD = dict(np.load(DATA / "odd_sizes.npz"))  # written by compare_with_peers.py --write
FAST = ("mmseg_hr18s", "ssseg16_w18s", "paddleseg_w18")  # ssseg16: sssegmentation 1.6.0, whose stem has no ReLU
ODD_CASES = sorted({tuple(key.split("/")[:2]) for key in ODD})


@cache
def published(model: str) -> tuple[Golden, OCRNet]:
    """Returns the reference of a model and our network with its weights, in evaluation mode."""
    golden = Golden(DATA / f"golden_{model.replace('ssseg16', 'ssseg')}.npz")
    network = OCRNet(model_config(model)[1], 19)
    converted(network, golden.source, golden.tensors())
    return golden, network.set_train(False)


@pytest.mark.parametrize(
    ("model", "size"),
    [pytest.param(*case, marks=[] if case[0] in FAST else [pytest.mark.slow]) for case in ODD_CASES],
)
def test_logits_equal_the_reference_at_sizes_that_are_not_multiples_of_32(model: str, size: str) -> None:
    golden, network = published(model)
    shape = tuple(map(int, size.split("x")))
    images = np.concatenate([odd_input(shape), odd_input(shape)[..., ::-1]])  # the images of a batch are independent
    main, auxiliary = network(Tensor(images))
    expected = {part: ODD[f"{model}/{size}/{part}"] for part in ("main", "auxiliary", "classes")}
    largest = np.abs(expected["main"]).max()
    limits = 3 * golden.error * largest / np.abs(golden.main).max()  # see `check_logits`
    if not ms.__version__.startswith(("2.7.", "2.8.")):  # whose oneDNN rounds differently: 1.1e-4 with ResNet-50
        limits = np.minimum(limits, 1e-4 * largest)
    for logits, part, limit in ((main, "main", limits[0]), (auxiliary, "auxiliary", limits[1])):
        assert np.abs(at_places(size, logits.asnumpy()[:1], PLACES) - expected[part]).max() <= limit
    classes = resize(main, shape, "bilinear", golden.model.align_corners).asnumpy()[:1].argmax(axis=1)
    assert (at_places(size, classes, CLASS_PLACES) == expected["classes"]).mean() >= 0.998


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["tta", "slide"])
@pytest.mark.parametrize("size", ["33x33", "125x251"])
def test_tta_and_sliding_window_equal_mmsegmentation(mode: str, size: str) -> None:
    golden, network = published("mmseg_hr18s")
    found = predict(network, golden.model, tuple(map(int, size.split("x"))), mode)
    assert (at_places(size, found, CLASS_PLACES) == ODD[f"mmseg_hr18s/{size}/{mode}"]).mean() >= 0.998


BOTH_MEANS = pytest.mark.parametrize(("key", "average"), [("avg0", "all"), ("avg1", "valid")])


@pytest.mark.slow
@BOTH_MEANS
def test_gradients_equal_mmsegmentation(key: str, average: str) -> None:
    check_gradients(dict(np.load(DATA / "gradients_mmseg_hr18s.npz")), key, average)


@needs_shared
@BOTH_MEANS
def test_all_gradients_equal_mmsegmentation(key: str, average: str) -> None:
    data = dict(np.load(SHARED / "grad_mmseg_hr18s.npz"))
    check_gradients({**data, "names": "\n".join(data["names"])}, key, average)


def check_gradients(data: dict[str, np.ndarray], key: str, average: str) -> None:
    """Compares losses, gradients and BatchNorm's running statistics of one training step; `key` selects the mean."""
    network = OCRNet(ModelConfig(), 19)
    conversion = converted(network, "mmseg", Golden(DATA / "golden_mmseg_hr18s.npz").tensors())
    parameters = network.parameters_dict()
    trainable = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    loss_network = OCRLoss(network, LossConfig(average=average), 19, align_corners=False).set_train()
    images, labels = golden_batch()
    step = ops.value_and_grad(lambda x, y: loss_network(x, y), None, list(trainable.values()), has_aux=True)
    (loss, main_loss, auxiliary_loss), gradients = step(Tensor(images), Tensor(labels))

    losses = np.array([auxiliary_loss.asnumpy(), main_loss.asnumpy(), loss.asnumpy()])
    assert losses == pytest.approx(data[f"{key}/losses"], rel=1e-5)

    ours = dict(zip(trainable, (gradient.asnumpy() for gradient in gradients), strict=True))
    names = [conversion.used[name] for name in str(data["names"]).split("\n")]
    assert sorted(names) == sorted(ours)
    norms = np.array([np.linalg.norm(ours[name].astype(np.float64)) for name in names])
    assert norms == pytest.approx(data[f"{key}/grad_l2"], rel=0.02)
    for entry, theirs in data.items():
        if entry.startswith(f"{key}/grad/"):
            error = np.linalg.norm(ours[conversion.used[entry.removeprefix(f"{key}/grad/")]] - theirs)
            assert error <= 0.02 * np.linalg.norm(theirs), entry
        elif entry.startswith("after_one_forward/"):
            statistics = parameters[conversion.used[entry.removeprefix("after_one_forward/")]].asnumpy()
            assert np.abs(statistics - theirs).max() <= 1e-4, entry


MMSEG_RESNET = dict(aux_channels=256, aux_kernel=3)
SSSEG = dict(aux_channels=512, aux_kernel=3, context_kernel=3)
HRNET_OCR = dict(align_corners=True, conv_bias=True)
PADDLESEG = dict(conv_bias=True, attention_bias=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "options", "millions"),
    [
        ("hrnet_w18_small", {}, {19: 6.378, 21: 6.380, 150: 6.481}),
        ("hrnet_w18", {}, {19: 12.080, 21: 12.082, 150: 12.183}),
        ("hrnet_w48", {}, {19: 70.371, 21: 70.374, 150: 70.533}),
        ("resnet50_v1c_d8", MMSEG_RESNET, {19: 36.524, 21: 36.526, 150: 36.625}),
        ("resnet101_v1c_d8", MMSEG_RESNET, {19: 55.516, 21: 55.518, 150: 55.617}),
        ("hrnet_w18_small", SSSEG, {19: 11.749}),
        ("hrnet_w18", SSSEG, {19: 17.451}),
        ("hrnet_w48", SSSEG, {19: 77.361}),
        ("resnet50_v1c_d8", SSSEG, {19: 43.083}),
        ("resnet101_v1c_d8", SSSEG, {19: 62.075}),
        ("hrnet_w48", HRNET_OCR, {19: 70.373, 21: 70.375, 150: 70.534}),
        ("hrnet_w18", PADDLESEG, {19: 12.083}),
    ],
)
def test_number_of_parameters_equals_the_published_one(
    backbone: str, options: dict, millions: dict[int, float]
) -> None:
    for classes, expected in millions.items():
        network = OCRNet(ModelConfig(backbone=backbone, **options), classes)
        assert round(count_parameters(network) / 1e6, 3) == expected


@pytest.mark.parametrize(
    ("backbone", "options", "gflops"),
    [("hrnet_w18_small", {}, 177.7), ("hrnet_w18", {}, 213.0), ("resnet50_v1c_d8", MMSEG_RESNET, 611.5)],
)
def test_flops_equal_the_published_ones(backbone: str, options: dict, gflops: float) -> None:
    flops = count_flops(OCRNet(ModelConfig(backbone=backbone, **options), 19), 512, 1024)
    assert round(flops / 1e9, 1) == gflops
