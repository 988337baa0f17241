"""The tests of the commands share one trained run."""

import types

import pytest
from commands import SMALL, call
from jobs import teacher_file  # noqa: F401


@pytest.fixture(scope="session")
def trained(tmp_path_factory, teacher_file):  # noqa: F811
    """A training on digits with a teacher in a file, without compiling: it does a few steps."""
    path = tmp_path_factory.mktemp("runs") / "small"
    import tensorflow as tf

    training = ("--epochs=1", "--batch_size=400", f"--teacher={teacher_file}", "--accept_teacher")
    arguments = ("train", *SMALL, *training, f"--run_dir={path}")
    tf.config.run_functions_eagerly(True)
    try:
        output = call(*arguments)
    finally:
        tf.config.run_functions_eagerly(False)
    return types.SimpleNamespace(path=path, arguments=arguments, output=output)
