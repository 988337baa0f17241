"""The command `export` writes a SavedModel and prints how it is served."""

import pytest
from commands import call, run_process

from keras_deit.core.errors import InputError


def test_a_run_is_exported_and_its_commands_are_printed(trained, tmp_path):
    output = call(
        "export",
        *(f"--run_dir={trained.path}", f"--output_dir={tmp_path}", "--name=pets", "--top_k=1"),
    )
    version = tmp_path / "pets" / "1"
    assert output.stdout.splitlines()[0] == str(version)
    assert (version / "saved_model.pb").is_file()
    assert "top_labels: string (any, 1)" in output.stdout
    assert f"-v {tmp_path.resolve()}/pets:/models/pets" in output.stdout
    assert "localhost:8501/v1/models/pets:predict" in output.stdout


def test_a_path_that_is_not_a_run_is_rejected(tmp_path):
    with pytest.raises(InputError, match="absent"):
        call("export", f"--run_dir={tmp_path / 'absent'}", f"--output_dir={tmp_path / 'models'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "Give --run_dir, --model or --weights"),
        (["--run_dir=a", "--model=b"], "not both"),
        (["--run_dir=a", "--format=onnx,tflite"], "Unknown format 'tflite'. Close names: litert"),
        (["--run_dir=a", "--quantize=int8"], "A SavedModel has no int8"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, message):
    with pytest.raises(InputError, match=message):
        call("export", *flags)


@pytest.mark.slow
def test_export_runs_on_tensorflow_whatever_the_environment_sets(trained, tmp_path):
    output = run_process(tmp_path, "export", f"--run_dir={trained.path}", backend="jax")
    # By default the model is below the working directory and named after the run.
    assert (tmp_path / "savedmodels" / trained.path.name / "1" / "saved_model.pb").is_file()
    assert output.stderr == ""
