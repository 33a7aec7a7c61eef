"""The learning rate of each step."""

import pytest

from ocrnet.config import ScheduleConfig
from ocrnet.training.schedule import learning_rate


def test_poly_matches_the_published_formula_and_ends_near_min_lr():
    config = ScheduleConfig(kind="poly", lr=0.01, min_lr=1e-4, power=0.9)
    assert learning_rate(config, 0, 40000) == 0.01
    assert learning_rate(config, 20000, 40000) == pytest.approx(1e-4 + (0.01 - 1e-4) * 0.5**0.9)
    assert 1e-4 < learning_rate(config, 39999, 40000) < 1.01e-4


def test_linear_warms_up_then_decays_to_min_lr():
    config = ScheduleConfig(kind="linear", lr=0.01, min_lr=1e-6, warmup_steps=500, warmup_lr=1e-6)
    assert learning_rate(config, 0, 160000) == 1e-6
    assert learning_rate(config, 250, 160000) == pytest.approx((0.01 + 1e-6) / 2)
    assert learning_rate(config, 500, 160000) == 0.01
    assert learning_rate(config, 80250, 160000) == pytest.approx((0.01 + 1e-6) / 2)


def test_cosine_warms_up_then_follows_pytorch():
    config = ScheduleConfig(kind="cosine", lr=0.01, min_lr=1e-4, warmup_steps=4, warmup_lr=1e-3)
    # torch 2.13: CosineAnnealingLR(optimizer, T_max=8, eta_min=1e-4)
    expected = [0.01, 0.00962320368593087, 0.00855017856687341, 0.006944282990207195, 0.00505, 0.003155717009792806,
                0.0015498214331265902, 0.0004767963140691307]  # fmt: skip
    assert [learning_rate(config, step, 12) for step in (0, 2)] == pytest.approx([1e-3, 5.5e-3])
    assert [learning_rate(config, step, 12) for step in range(4, 12)] == pytest.approx(expected, rel=1e-12)
    # after a resume with another batch size, a step is a fraction of one before
    assert learning_rate(config, 7.5, 12) == pytest.approx(0.0060157, rel=1e-4)
    assert expected[4] < learning_rate(config, 7.5, 12) < expected[3]
