"""PaddlePaddle's .pdparams: real files are read, hostile ones are errors and need no more memory than their size."""

import os
import pickle
import pickletools
import struct
from pathlib import Path

import numpy as np
import pytest

from ocrnet.errors import UserError
from ocrnet.weights.foreign_files import read_tensors
from peers import DATA


@pytest.mark.parametrize("protocol", [2, 4])
def test_files_of_paddlepaddle_are_read_without_paddlepaddle(protocol: int) -> None:
    """The files were written by PaddlePaddle 3.3.1 from a Conv2D and a BatchNorm2D, seed 0, and five more entries."""
    tensors, others = read_tensors(DATA / f"paddle_protocol{protocol}.pdparams")
    assert others == []
    weight = tensors["0.weight"]
    assert weight.shape == (4, 3, 3, 3) and weight.dtype == np.float32 and weight.flags.writeable
    assert weight.ravel()[:3].tolist() == pytest.approx([-0.20605935, -0.103584, 0.02979306])
    assert weight.sum() == pytest.approx(2.3588445, rel=1e-5)
    assert tensors["1._mean"].tolist() == [0, 0, 0, 0] and tensors["1._variance"].tolist() == [1, 1, 1, 1]
    for half in ("half", "bf16"):
        assert tensors[half].dtype == np.float32
        assert tensors[half].tolist() == [[0, 0.25, 0.5], [0.75, 1.0, 1.25]]
    assert tensors["count"] == 7
    assert tensors["transposed"].tolist() == [[0, 1, 2], [3, 4, 5]]  # stored column by column


def test_tensors_outside_a_state_dict_have_their_own_name() -> None:
    """paddle.save of {nested: {x: tensor}, weight: tensor, epoch: 3} writes each tensor as (name, array)."""
    tensors, others = read_tensors(DATA / "paddle_named.pdparams")
    assert tensors["weight"].tolist() == [0, 1, 2] and others == ["nested", "epoch"]


def test_a_tensor_in_slices_is_joined(tmp_path: Path) -> None:
    """With protocols 2 and 3, PaddlePaddle slices tensors of 1 GiB and more."""
    file = tmp_path / "split.pdparams"
    split = {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}}
    tree = {
        "w@@.0": np.arange(4, dtype=np.float32),
        "w@@.1": np.arange(4, 6, dtype=np.float32),
        "StructuredToParameterName@@": {"w": "linear_0.w_0"},
        "UnpackBigParamInfor@@": split,
    }
    file.write_bytes(pickle.dumps(tree, 2))
    tensors, others = read_tensors(file)
    assert {name: value.tolist() for name, value in tensors.items()} == {"w": [[0, 1, 2], [3, 4, 5]]}
    assert others == ["StructuredToParameterName@@"]
    split["w"]["slices"] = ["w@@.0"] * 10**6
    file.write_bytes(pickle.dumps(tree, 2))
    with pytest.raises(UserError, match="not a readable weight file"):
        read_tensors(file)


class _Attack:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    created, file = tmp_path / "created", tmp_path / "attack.pdparams"
    file.write_bytes(pickle.dumps({"weight": np.ones(1, np.float32), "more": _Attack(created)}))
    tensors, others = read_tensors(file)
    assert tensors["weight"].tolist() == [1] and others == ["more"]
    assert not created.exists()
    pickle.loads(file.read_bytes())  # with Python's pickle, the attack works
    assert created.exists()


def bare(value: object) -> bytes:
    """Returns the pickle of a value without its header and its end."""
    return pickletools.optimize(pickle.dumps(value, 3))[2:-1]


def array(shape: object = (4,), kind: str = "f4", data: bytes = bare(bytes(16))) -> bytes:
    """Returns the pickle of an array with any, also wrong, parts, without its header and its end."""
    new = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R"
    order = b"(K\x03" + bare("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t"
    dtype = b"cnumpy\ndtype\n" + bare(kind) + b"\x89\x88\x87R" + order + b"b"
    return new + b"(K\x01" + bare(shape) + dtype + b"\x89" + data + b"tb"


def pdparams(folder: Path, *entries: bytes) -> Path:
    """Writes a file with `entries` named 0, 1, 2 and so on."""
    file = folder / "file.pdparams"
    file.write_bytes(b"\x80\x03}(" + b"".join(bare(str(i)) + entry for i, entry in enumerate(entries)) + b"u.")
    return file


def test_the_hostile_arrays_below_are_read_without_their_fault(tmp_path: Path) -> None:
    assert read_tensors(pdparams(tmp_path, array()))[0]["0"].tolist() == [0, 0, 0, 0]
    assert read_tensors(pdparams(tmp_path, array((0, 3), data=bare(b""))))[0]["0"].shape == (0, 3)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (array((5,)), "shape does not fit its numbers"),
        (array((2**40, 2**40)), "shape does not fit its numbers"),
        (array((2**63, 2)), "shape does not fit its numbers"),  # 2**64 numbers are 0 with 64 bits
        (array((-2, -2)), "shape does not fit its numbers"),
        (array((4.0,)), "shape does not fit its numbers"),
        (array(("a", 2**36)), "shape does not fit its numbers"),  # a text of 64 GiB
        (array((1,) * 1000 + (4,)), "shape does not fit its numbers"),
        (array(kind="O"), "unknown type"),
        (array(kind="V1000000000000"), "unknown type"),
        (array(kind="f4,f4"), "unknown type"),
        (array(data=bare(None)), "no numbers"),
        (array(data=bare([1, 2, 3, 4])), "no numbers"),
        (array(data=b"\x8e" + struct.pack("<Q", 2**40)), "not a readable weight file"),
        (b"\x95" + struct.pack("<Q", 2**40) + array(), "not a readable weight file"),
        (b"]r\xff\xff\xff\x7f", "a number that is too large"),  # a table of 2**32 objects
    ],
)
def test_hostile_arrays_are_errors(tmp_path: Path, entry: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=rf"file\.pdparams: .*{reason}"):
        read_tensors(pdparams(tmp_path, entry))


def test_shared_numbers_do_not_exhaust_the_memory(tmp_path: Path) -> None:
    first, again = (array((2**18,), data=data) for data in (bare(bytes(2**20)) + b"q\0", b"h\0"))
    assert len(read_tensors(pdparams(tmp_path, first, again))[0]) == 2  # tied weights
    with pytest.raises(UserError, match="too many tensors share their numbers"):
        read_tensors(pdparams(tmp_path, first, *[again] * 3000))
    text = b"c_codecs\nencode\n" + bare("\0" * 2**20) + b"q\0" + bare("latin1") + b"\x86R"  # as with protocol 2
    later = b"c_codecs\nencode\nh\0" + bare("latin1") + b"\x86R"
    first, again = (array((2**18,), data=data) for data in (text, later))
    assert len(read_tensors(pdparams(tmp_path, first, again))[0]) == 2
    with pytest.raises(UserError, match="too many tensors share their numbers"):
        read_tensors(pdparams(tmp_path, first, *[again] * 3000))


@pytest.mark.parametrize("name", ["paddle_protocol2.pdparams", "paddle_protocol4.pdparams"])
def test_truncated_files_are_errors(tmp_path: Path, name: str) -> None:
    whole = (DATA / name).read_bytes()
    cut = tmp_path / "cut.pdparams"
    for length in range(1, len(whole), 31):
        cut.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.pdparams: "):
            read_tensors(cut)


@pytest.mark.parametrize("content", [[1, 2], "text", 3])
def test_other_pickles_are_errors(tmp_path: Path, content: object) -> None:
    file = tmp_path / "other.pdparams"
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="neither a PyTorch nor a PaddlePaddle file"):
        read_tensors(file)
