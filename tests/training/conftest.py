"""The fixtures of `jobs`, and a backend that is fast at many trainings of small models."""

from jobs import eager, teacher_file, tiny_job  # noqa: F401
