"""Reading PyTorch's pickles without running anything in them, and without PyTorch."""

import collections
import dataclasses
import math
import pickle
import pickletools
from typing import BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

_DTYPES = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16"},
    **{"BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32"},
    **{"ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8"},
    **{"ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128"},
    "BoolStorage": "bool",
}


class Storage(NamedTuple):
    """The memory of one or several tensors, which lies elsewhere in the file.

    Attributes:
        key: its name in the file.
        dtype: name of the dtype of its values; "uint8" if only its tensors say it.
        start: index of its first value, because old files have parts of storages.
    """

    key: str
    dtype: str
    start: int = 0


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Where the values of a tensor are.

    Attributes:
        shape: its shape.
        dtype: name of its dtype, as PyTorch calls it.
        storage: None if it is not a plain tensor.
        offset: index of its first value in the storage.
        stride: distances of neighbors in the storage, by axis.
        kind: "plain", or "sparse", "meta", "quantized" or another, which cannot be read.
    """

    shape: tuple[int, ...]
    dtype: str
    storage: Storage | None = None
    offset: int = 0
    stride: tuple[int, ...] = ()
    kind: str = "plain"

    @property
    def is_float(self) -> bool:
        """Whether the values are floating-point numbers."""
        return self.dtype.startswith(("float", "bfloat"))

    def values(self, memory: memoryview) -> np.ndarray:
        """Returns the tensor as a float32 array of its own.

        Args:
            memory: bytes of the storage.

        Raises:
            ValueError: the tensor is not inside of its storage.
        """
        dtype = numpy_dtype(self.dtype)
        size = dtype.itemsize
        pairs = list(zip(self.shape, self.stride, strict=True))
        if not math.prod(self.shape):
            return np.zeros(self.shape, "float32")
        length = 1 + sum((sides - 1) * stride for sides, stride in pairs)
        first = (self.storage.start + self.offset) * size
        if first < 0 or min(self.stride, default=0) < 0 or first + length * size > len(memory):
            raise ValueError("a tensor is not inside of its storage")
        flat = np.frombuffer(memory, dtype, length, first)
        strides = [stride * size for stride in self.stride]
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides).astype("float32")


def numpy_dtype(name: str) -> np.dtype:
    """Returns the dtype of a name that PyTorch and NumPy share, or bfloat16 or a float8."""
    return np.dtype(getattr(ml_dtypes, name, name))


class Skipped(dict):
    """Stands for an object of any class that is not read; it keeps its items and its state.

    A pickle may call it and fill it, like the class whose place it takes, and nothing happens.
    """

    state = None

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        super().__init__()

    def __call__(self, *args, **kwargs):
        return Skipped()

    def __setstate__(self, state):
        self.state = state

    def append(self, item):
        """Leaves the item out, as `extend` and `add` do."""

    extend = add = append
    __hash__ = object.__hash__
    __eq__ = object.__eq__


class TensorUnpickler(pickle.Unpickler):
    """Reads the containers, numbers, strings and tensors of a pickle.

    A name in a pickle is never imported: it stands for one of the functions below, which only note
    where a tensor is, or for `Skipped`.

    Args:
        file: opened file.

    Attributes:
        storages: the storages that the pickle refers to, by key.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch", "Size"):
            return tuple
        if module.partition(".")[0] == "torch":
            if name in _REBUILDING:
                return _Function(_REBUILDING[name])
            if name.startswith("_rebuild"):
                kind = name.removeprefix("_rebuild_").removesuffix("_tensor").partition("_")[0]
                return _Function(lambda *args: _other_tensor(kind, *args))
        # A class of its own, because a pickle may set attributes of a class.
        return type(name, (Skipped,), {"__module__": module})

    def persistent_load(self, pid):
        kind, storage_type, key, _, _, *view = pid
        if kind not in ("storage", b"storage"):
            raise pickle.UnpicklingError(f"it refers to a {kind}")
        start = view[0][1] if view and view[0] else 0
        storage = Storage(str(key), _DTYPES.get(storage_type.__name__, "uint8"), start)
        self.storages[storage.key] = storage
        return storage


class _Function:
    """A function that a pickle can call, but not change."""

    __slots__ = ("function",)

    def __init__(self, function):
        self.function = function

    def __call__(self, *args):
        return self.function(*args)

    def __setstate__(self, state):
        """Changes nothing."""


def _tensor(storage: Storage, offset, shape, stride, *_) -> StoredTensor:
    return StoredTensor(tuple(shape), storage.dtype, storage, offset, tuple(stride))


def _typed_tensor(storage: Storage, offset, shape, stride, grad, hooks, dtype, *_) -> StoredTensor:
    tensor = _tensor(storage, offset, shape, stride)
    return dataclasses.replace(tensor, dtype=dtype.__name__)


def _meta_tensor(dtype, shape, *_) -> StoredTensor:
    return StoredTensor(tuple(shape), dtype.__name__, kind="meta")


def _other_tensor(kind: str, *args) -> StoredTensor:
    # The shape is the only tuple of numbers, or the first.
    flat = [part for arg in args for part in (arg if isinstance(arg, tuple) else (arg,))]
    shapes = (x for x in [*args, *flat] if isinstance(x, tuple) and x and type(x[0]) is int)
    return StoredTensor(next(shapes, ()), "float32", kind=kind)


def _subclass(function, kind, args, state=None) -> StoredTensor:
    return function(*args)


# PyTorch's functions that make a tensor, by their name in a pickle.
_REBUILDING = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _typed_tensor,
    "_rebuild_meta_tensor_no_storage": _meta_tensor,
    "_rebuild_parameter": lambda tensor, *_: tensor,
    "_rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "_rebuild_from_type_v2": _subclass,
}


def read_pickle(file: BinaryIO):
    """Returns the content of the next pickle in a file, and the storages that it refers to by key.

    Nothing in it is run.

    Raises:
        Exception: of any kind, because a corrupt pickle can fail anywhere.
    """
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        # The memory for so many objects would be taken at once.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise pickle.UnpicklingError("it numbers objects that it does not have")
    file.seek(start)
    unpickler = TensorUnpickler(file)
    return unpickler.load(), unpickler.storages
