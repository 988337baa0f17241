"""What every part of the package builds on: errors, files, processes, precision."""
