"""Runs the command `keras-deit convert`."""

import sys

sys.argv[:1] = ["keras-deit", "convert"]

from keras_deit.cli.main import main  # noqa: E402

main()
