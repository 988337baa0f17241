"""Runs the command `keras-deit train-teacher`."""

import sys

sys.argv[:1] = ["keras-deit", "train-teacher"]

from keras_deit.cli.main import main  # noqa: E402

main()
