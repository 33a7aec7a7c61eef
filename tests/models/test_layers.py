import numpy as np
import pytest
from mindspore import Tensor

from ocrnet.models.layers import Dropout2d, draw_dropout


def test_dropout_depends_on_the_sample_number_and_drops_whole_channels():
    layer = Dropout2d(0.25, 400, "test.dropout")
    images = Tensor(np.ones((2, 400, 3, 5), np.float32))

    def step(*samples: int, seed: int = 7) -> np.ndarray:
        draw_dropout([layer], seed, range(samples[0], samples[-1] + 1))
        return layer(images).asnumpy()

    layer.set_train(True)
    first = step(10, 11)
    assert np.all((first == 0) | np.isclose(first, 1 / 0.75)) and np.all(first == first[:, :, :1, :1])
    assert np.mean(first == 0) == pytest.approx(0.25, abs=0.06)
    np.testing.assert_array_equal(step(11, 12)[0], first[1])  # at any position in the batch
    assert not np.array_equal(step(12, 13), first) and not np.array_equal(step(10, 11, seed=8), first)
    assert not layer.parameters_dict()  # not in checkpoints
    layer.set_train(False)
    np.testing.assert_array_equal(layer(images).asnumpy(), images.asnumpy())
