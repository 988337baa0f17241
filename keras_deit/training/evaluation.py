"""Evaluating a finished run again."""

from keras_deit.data import evaluation_pipeline, load_dataset, num_batches
from keras_deit.distillation import Teacher
from keras_deit.errors import InputError
from keras_deit.models.precision import precision
from keras_deit.training.obtaining import teacher_of_run
from keras_deit.training.run_directory import RunDirectory
from keras_deit.training.scoring import score_student

SPLITS = ("validation", "test")


def evaluate_run(run_dir: str, split: str = "test", batch_size: int = 64, say=print) -> dict:
    """Evaluates the final student of a run on a split of its data.

    Args:
        run_dir: of a finished run.
        split: "validation" or "test".
        batch_size: images at a time.
        say: called with each line for the user.

    Returns:
        `scores` as of `score_student`, and the number of `examples`.

    Raises:
        InputError: no such split, or not a finished run.
    """
    if split not in SPLITS:
        raise InputError(f"split should be one of {', '.join(SPLITS)}. Received: {split!r}")
    run = RunDirectory(run_dir)
    config = run.read_config()
    with precision(config["run"]["mixed_precision"]):
        student = run.load_student()
        found = teacher_of_run(config)
        if found is None and config["teacher"] is not None:
            say(f"The teacher {config['teacher']} is not there any more; no agreement is counted.")
        teacher = Teacher(*found, student.image_format) if found else None
        source = getattr(load_dataset(config["run"]["dataset"], config["data_dir"]), split)
        view = (config["crop_ratio"], config["interpolation"])
        data = evaluation_pipeline(source, student.image_format, batch_size, *view)
        batches = num_batches(len(source), batch_size)
        scores = score_student(student, teacher, data, batches, split)
    return {"scores": scores, "examples": len(source)}
