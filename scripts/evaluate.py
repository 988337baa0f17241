"""Runs the command `keras-deit evaluate`."""

import sys

sys.argv[:1] = ["keras-deit", "evaluate"]

from keras_deit.cli.main import main  # noqa: E402

main()
