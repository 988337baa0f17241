"""The command `keras-deit`."""
