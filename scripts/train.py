"""Runs the command `keras-deit train`."""

import sys

sys.argv[:1] = ["keras-deit", "train"]

from keras_deit.cli.main import main  # noqa: E402

main()
