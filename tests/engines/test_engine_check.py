import numpy as np
import pytest

from enginecrate.engines.check import check_inputs
from enginecrate.errors import TensorMismatch
from enginecrate.values import DataType, TensorSpec

IMAGE = TensorSpec("image", DataType.FP32, (-1, 3, 4))
SCALE = TensorSpec("scale", DataType.FP32, (-1,))
TEXT = TensorSpec("text", DataType.BYTES, (2,))


def image(batch: int = 1) -> np.ndarray:
    return np.zeros((batch, 3, 4), np.float32)


def test_what_fits_gives_the_batch_size():
    assert check_inputs([IMAGE], {"image": image(5)}, 8) == 5
    assert check_inputs([IMAGE], {"image": image(5)}, 0) == 1
    both = {"image": image(2), "scale": np.zeros(2, np.float32)}
    assert check_inputs([IMAGE, SCALE], both, 8) == 2
    assert check_inputs([TEXT], {"text": np.array([b"a", b""], object)}, 0) == 1
    assert check_inputs([], {}, 0) == 1


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, r"input 'image' is missing; send it as FP32 \[-1,3,4\]"),
        ({"image": image(), "imge": image()}, r"no input 'imge'; did you mean 'image'\?"),
        ({"image": image().tolist()}, r"expected an array of FP32 \[-1,3,4\], found list"),
        ({"image": image().astype(np.float64)}, "expected datatype FP32, found FP64; convert"),
        ({"image": image().astype(">f4")}, "expected datatype FP32, found >f4"),
        ({"image": image().astype(np.complex64)}, "expected datatype FP32, found complex64"),
        ({"image": np.zeros((1, 3, 5), np.float32)}, r"expected shape \[-1,3,4\], found \[1,3,5\]"),
        ({"image": image()[0]}, r"found \[3,4\]; put the batch dimension in front"),
        ({"image": image(9)}, "expected a batch of 1 to 8, found 9; send several smaller"),
        ({"image": image(0)}, "expected a batch of 1 to 8, found 0; send at least one"),
    ],
)
def test_what_does_not_fit_is_said(tensors: dict, message: str):
    with pytest.raises(TensorMismatch, match=message):
        check_inputs([IMAGE], tensors, 8)


def test_batches_must_agree():
    with pytest.raises(
        TensorMismatch, match="'scale' has a batch of 3, but input 'image' one of 2"
    ):
        check_inputs([IMAGE, SCALE], {"image": image(2), "scale": np.zeros(3, np.float32)}, 8)


def test_texts_must_be_bytes():
    with pytest.raises(TensorMismatch, match="found str at position 1"):
        check_inputs([TEXT], {"text": np.array([b"a", "b"], object)}, 0)
    with pytest.raises(TensorMismatch, match=r"expected datatype BYTES, found (NumPy )?\|S1"):
        check_inputs([TEXT], {"text": np.array([b"a", b"b"])}, 0)
