"""The fixtures of `jobs`."""

from jobs import teacher_file, tiny_job  # noqa: F401
