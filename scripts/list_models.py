"""Runs the command `keras-deit models`."""

import sys

sys.argv[:1] = ["keras-deit", "models"]

from keras_deit.cli.main import main  # noqa: E402

main()
