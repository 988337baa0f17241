"""Trains a student, distilled from a teacher, and prints how well each head does.

    python scripts/train.py                                     digits, in a few minutes on a CPU
    python scripts/train.py --dataset folder:PATH               your images, one folder a class
    python scripts/train.py --dataset cifar10 --strategy mirrored
    KERAS_BACKEND=jax python scripts/train.py --dataset cifar10 --strategy data_parallel
    python scripts/train.py --dataset cifar10 --plan            what it would take; does it fit?

A teacher that has to be trained first is trained, and kept for the next run. A run that was
stopped, in whatever way, goes on where it was when the same command is given again.
"""

import command  # isort: skip  (loads Keras without the noise)
import plan_flags
import recipe_flags
from absl import flags

from keras_deit.training import REACTIONS, STRATEGIES, Devices, Job, final_report, train

_PRECISIONS = {"none": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}

_TRAIN_EXAMPLES = flags.DEFINE_integer(
    "train_examples", None, "How many training images the student sees; the steps stay the same."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, data order, augmentation, stochastic depth.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "Of the run; by default one below runs/.")
_STRATEGY = flags.DEFINE_enum("strategy", "none", STRATEGIES, "Which devices it runs on, and how.")
_TPU = flags.DEFINE_string("tpu", "", "Name or grpc address of TensorFlow's TPU.")
_VIRTUAL_DEVICES = flags.DEFINE_integer(
    "virtual_devices", 0, "Split the CPU into so many devices, to try a strategy."
)
_MODEL_DEVICES = flags.DEFINE_integer(
    "model_devices", 0, "How many devices share a model under model_parallel; 0 for all of a host."
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT of process 0, where several JAX processes train."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many JAX processes train.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
_REMATERIALISE = flags.DEFINE_bool(
    "rematerialise", False, "Compute the student's activations twice rather than keep them."
)
_MIXED_PRECISION = flags.DEFINE_enum(
    "mixed_precision", "none", _PRECISIONS, "What to compute in besides float32."
)
_TEACHER_DIR = flags.DEFINE_string(
    "teacher_dir", "runs/teachers", "Where teachers that had to be trained are kept."
)
_CHECKPOINT_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds", 300.0, "From one checkpoint to the next; 0 for one after every step."
)
_KEEP_CHECKPOINTS = flags.DEFINE_integer("keep_checkpoints", 2, "How many of the newest to keep.")
_ON_NAN = flags.DEFINE_enum(
    "on_nan", "fail", REACTIONS, "After a step whose gradients are not finite: stop, or go on."
)
_ON_BAD_IMAGE = flags.DEFINE_enum(
    "on_bad_image", "fail", REACTIONS, "At an image that cannot be read: stop, or take another."
)
recipe_flags.define_data()
recipe_flags.define_overrides()
flags.adopt_module_key_flags(recipe_flags)
flags.adopt_module_key_flags(plan_flags)


def main() -> None:
    job = Job(
        dataset=flags.FLAGS.dataset,
        recipe=recipe_flags.overridden(recipe_flags.chosen_recipe(flags.FLAGS.model)),
        data_dir=flags.FLAGS.data_dir,
        train_examples=_TRAIN_EXAMPLES.value,
        seed=_SEED.value,
        mixed_precision=_PRECISIONS[_MIXED_PRECISION.value],
        devices=_devices(),
        rematerialise=_REMATERIALISE.value,
        teacher_pixels=flags.FLAGS.teacher_pixels,
        teacher_outputs=flags.FLAGS.teacher_outputs,
        teacher_dir=_TEACHER_DIR.value,
        checkpoint_seconds=_CHECKPOINT_SECONDS.value,
        keep_checkpoints=_KEEP_CHECKPOINTS.value,
        on_nan=_ON_NAN.value,
        on_bad_image=_ON_BAD_IMAGE.value,
    )
    if plan_flags.PLAN.value:
        plan_flags.print_plan(job)
        return
    plan_flags.require_plan()
    summary, run_dir = train(job, _RUN_DIR.value)
    print(final_report(summary, run_dir))


def _devices() -> Devices:
    return Devices(
        strategy=_STRATEGY.value,
        tpu=_TPU.value,
        virtual_devices=_VIRTUAL_DEVICES.value,
        model_devices=_MODEL_DEVICES.value,
        coordinator_address=_COORDINATOR_ADDRESS.value,
        num_processes=_NUM_PROCESSES.value,
        process_id=_PROCESS_ID.value,
    )


if __name__ == "__main__":
    command.run(main)
