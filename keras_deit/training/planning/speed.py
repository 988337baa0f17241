"""How long a training takes, from what its steps multiply: an estimate."""

import math
import time

import numpy as np
from keras import ops

from keras_deit.models import Classifier

_SECONDS = 1.0
_MAX_ROWS = 2**14


def step_flops(student_macs: int, teacher_macs: int, images: int, rematerialise: bool) -> int:
    """Floating-point operations of a step, two to a multiply-add.

    Forward, and backward twice as much, for the gradients of the inputs and of the weights; with
    rematerialisation the student's forward pass again; the teacher's forward pass.
    """
    passes = 4 if rematerialise else 3
    return 2 * images * (passes * student_macs + teacher_macs)


def measured_flops(student: Classifier, images: int) -> float:
    """Operations per second that the present device makes of the student's largest product.

    A training is slower: by what is not a matrix product, and by products that are smaller.

    Args:
        student: or its outline.
        images: that a device has at once.
    """
    rows, inner, columns = largest_product(student, images)
    generator = np.random.default_rng(0)
    dtype = student.compute_dtype
    left, right = (
        ops.cast(generator.standard_normal(shape, dtype="float32"), dtype)
        for shape in ((rows, inner), (inner, columns))
    )
    _wait_for(ops.matmul(left, right))
    runs, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < _SECONDS:
        # Reading a number waits for the device; a few products are queued before that.
        for _ in range(4):
            product = ops.matmul(left, right)
        _wait_for(product)
        runs += 4
    return 2 * rows * inner * columns * runs / passed


def largest_product(student: Classifier, images: int) -> tuple[int, int, int]:
    """Rows, inner dimension and columns of a product as large as the largest of a student.

    Args:
        student: or its outline.
        images: that a device has at once; of many, as many as are enough to keep it busy.
    """
    products = [
        (math.prod(layer.input.shape[1:-1]), *kernel.shape)
        for layer in student.layers
        for kernel in layer.weights
        if kernel.name == "kernel" and len(kernel.shape) == 2
    ]
    positions, inner, columns = max(products, key=math.prod)
    return min(images * positions, _MAX_ROWS), inner, columns


def _wait_for(product) -> None:
    ops.convert_to_numpy(product[0, 0])
