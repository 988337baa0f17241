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
        `scores` as of `score_student`, the number of `examples` and, where the run has a moving
        average of its weights, the `ema_scores` of that.

    Raises:
        InputError: no such split, or not a finished run.
    """
    if split not in SPLITS:
        raise InputError(f"split should be one of {', '.join(SPLITS)}. Received: {split!r}")
    run = RunDirectory(run_dir)
    config = run.read_config()
    with precision(config["run"]["mixed_precision"]):
        students = {"scores": run.load_student()}
        if run.ema_weights.is_file():
            students["ema_scores"] = run.load_student(ema=True)
        student = students["scores"]
        found = teacher_of_run(config)
        if found is None and config["teacher"] is not None:
            say(f"The teacher {config['teacher']} is not there any more; no agreement is counted.")
        teacher = Teacher(*found, student.image_format) if found else None
        source = getattr(load_dataset(config["run"]["dataset"], config["data_dir"]), split)
        view = (config["crop_ratio"], config["interpolation"])
        batches = num_batches(len(source), batch_size)
        result = {"examples": len(source)}
        for name, student in students.items():
            data = evaluation_pipeline(source, student.image_format, batch_size, *view)
            result[name] = score_student(student, teacher, data, batches, split)
    return result
