"""Runs the command `keras-deit recipes`."""

import sys

sys.argv[:1] = ["keras-deit", "recipes"]

from keras_deit.cli.main import main  # noqa: E402

main()
