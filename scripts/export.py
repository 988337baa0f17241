"""Runs the command `keras-deit export`."""

import sys

sys.argv[:1] = ["keras-deit", "export"]

from keras_deit.cli.main import main  # noqa: E402

main()
