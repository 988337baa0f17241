"""The fixtures of `jobs`."""

from jobs import eager, teacher_file, tiny_job  # noqa: F401
