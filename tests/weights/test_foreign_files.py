import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import save_file

from ocrnet.errors import UserError
from ocrnet.weights import foreign_files
from ocrnet.weights.foreign_files import read_tensors
from ocrnet.weights.published import convert
from peers import DATA


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_pytorch_files_are_read_without_pytorch(name: str) -> None:
    """The files were written by PyTorch 2.13: {meta, state_dict, optimizer}, new and old format, seed 0."""
    tensors, others = read_tensors(DATA / name)
    assert others == ["meta", "optimizer"]
    weight = tensors["conv.weight"]
    assert weight.shape == (4, 3, 3, 3) and weight.dtype == np.float32
    assert weight.ravel()[:3].tolist() == pytest.approx([-1.1258398, -1.1523602, -0.25057858])
    assert weight.sum() == pytest.approx(1.454376, rel=1e-5)
    assert (tensors["transposed"] == weight.transpose(1, 0, 2, 3)).all()  # a view with other strides
    assert (tensors["slice"] == weight[1:3]).all()  # a view with an offset
    assert tensors["bn.weight"].tolist() == [0, 1, 2, 3]
    assert tensors["bn.num_batches_tracked"] == 7
    for half in ("half", "bf16"):
        assert tensors[half].dtype == np.float32
        assert tensors[half].tolist() == [[0, 0.25, 0.5], [0.75, 1.0, 1.25]]
    assert tensors["parameter"].tolist() == [0.5, 0.5]
    assert tensors["empty"].shape == (0, 3)


class _Attack:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def _write_zip(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", np.arange(4, dtype="<f4").tobytes())
    return path


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    created = tmp_path / "created"
    content = pickle.dumps({"state_dict": OrderedDict(weight=_Attack(created))}, protocol=2)
    with pytest.raises(UserError, match="no tensors"):
        read_tensors(_write_zip(tmp_path / "attack.pth", content))
    assert not created.exists()
    pickle.loads(content)  # with Python's pickle, the attack works
    assert created.exists()


class _Tensor:
    """Is pickled like a PyTorch tensor."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self):
        return foreign_files.rebuild_tensor, self.arguments


class _FloatStorage:
    pass


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object):
        return ("storage", _FloatStorage, "0", "cpu", 4) if isinstance(value, _FloatStorage) else None


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "good"),
    [
        (0, (2, 2), (2, 1), True),
        (1, (3,), (1,), True),
        (2, (3,), (1,), False),
        (0, (2, 2), (3, 2), False),
        (-1, (2,), (1,), False),
        (3, (2,), (-1,), False),
    ],
)
def test_tensors_beyond_their_storage_are_errors(tmp_path: Path, offset, shape, strides, good: bool) -> None:
    content = io.BytesIO()
    _Pickler(content, 2).dump({"w": _Tensor(_FloatStorage(), offset, shape, strides)})
    renamed = (
        content.getvalue()
        .replace(b"cocrnet.weights.foreign_files\nrebuild_tensor\n", b"ctorch._utils\n_rebuild_tensor_v2\n")
        .replace(f"c{__name__}\n_FloatStorage\n".encode(), b"ctorch\nFloatStorage\n")
    )
    file = _write_zip(tmp_path / "view.pth", renamed)
    if good:
        expected = np.lib.stride_tricks.as_strided(np.arange(4, dtype="f4")[offset:], shape, [4 * s for s in strides])
        assert (read_tensors(file)[0]["w"] == expected).all()
    else:
        with pytest.raises(UserError, match="beyond its storage"):
            read_tensors(file)


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_truncated_files_are_errors(tmp_path: Path, name: str) -> None:
    whole = (DATA / name).read_bytes()
    cut = tmp_path / "cut.pth"
    for length in range(2, len(whole), 97):
        cut.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.pth: "):
            read_tensors(cut)


def test_missing_and_other_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.pth: weight file not found"):
        read_tensors(tmp_path / "no.pth")
    foreign = tmp_path / "foreign.pth"
    foreign.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(UserError, match="no tensors at its top level"):
        read_tensors(foreign)
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"no such thing")
    with pytest.raises(UserError, match="not a readable weight file"):
        read_tensors(foreign)


def test_safetensors(tmp_path: Path) -> None:
    save_file({"a": np.arange(3, dtype=np.float16), "b": np.zeros((), np.int64)}, tmp_path / "w.safetensors")
    tensors, others = read_tensors(tmp_path / "w.safetensors")
    assert tensors["a"].dtype == np.float32 and tensors["a"].tolist() == [0, 1, 2]
    assert tensors["b"].shape == () and others == []


def safetensors_with_header(path: Path, length: int) -> Path:
    """Writes a file with one tensor whose header is padded with spaces to `length` bytes, as the format allows."""
    header = b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'.ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + header + np.arange(3, dtype="<f4").tobytes())
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.ckpt"])
@pytest.mark.parametrize("length", [0x80, 0x0280, 0x4B50, 0x0A0A, 0x7B])
def test_safetensors_with_a_header_of_any_length(tmp_path: Path, name: str, length: int) -> None:
    """Pickles start with 0x80, zip archives with 0x4B50 (PK), checkpoints with 0x0A."""
    tensors, others = read_tensors(safetensors_with_header(tmp_path / name, length))
    assert tensors["w"].tolist() == [0, 1, 2] and others == []


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_pytorch_files_are_detected_by_their_content(tmp_path: Path, name, suffix) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes((DATA / name).read_bytes())
    assert read_tensors(file)[0]["bn.weight"].tolist() == [0, 1, 2, 3]


def test_a_header_longer_than_its_file_is_an_error(tmp_path: Path) -> None:
    file = safetensors_with_header(tmp_path / "cut.safetensors", 0x280)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cut\.safetensors: not a readable weight file"):
        read_tensors(file)


def test_training_checkpoints_of_mindspore_lab(tmp_path: Path) -> None:
    """The entries of the optimizer and of the 1000-class head are listed as unused, with a reason."""
    file = tmp_path / "train.ckpt"
    names = [
        "backbone.conv1.weight",
        "moments.backbone.conv1.weight",
        "global_step",
        "learning_rate",
        "backbone.classifier.bias",
        "backbone.incre_modules.0.0.conv1.weight",
    ]
    ms.save_checkpoint([{"name": name, "data": Tensor(np.ones(2, np.float32))} for name in names], str(file))
    tensors, _ = read_tensors(file)
    conversion = convert("mindspore-lab", tensors, {"backbone.conv1.weight": (2,)})
    assert conversion.used == {names[0]: names[0]} and conversion.problems == []
    reasons = [conversion.unused[name] for name in names[1:]]
    assert reasons[0] == "state of the optimizer"
    assert reasons[1:3] == ["state of the training"] * 2
    assert reasons[3:] == ["part of an ImageNet classification head"] * 2
