"""The fixtures of `jobs`. What JAX has compiled for one training, it finds for the next."""

from jobs import eager, teacher_file, tiny_job  # noqa: F401
from processes import use_jax_cache

use_jax_cache()
