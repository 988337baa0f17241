"""Runs the examples of docs/extending.md and short trainings with them."""

import pathlib
import sys

from processes import end, start

from keras_deit.cli.main import run_command

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
# One step takes a third of the images of an epoch.
SMALL = ("--embed_dim=12", "--depth=1", "--batch_size=400", "--warmup_epochs=1")


class Example:
    """An example file and the commands with it, in a folder of their own."""

    def __init__(self, name: str, folder: pathlib.Path):
        self.file = EXAMPLES / f"{name}.py"
        self.recipe = f"{name}_digits"
        self.folder = folder

    def run(self, command: str, *flags: str) -> None:
        """Runs a command in this process."""
        run_command([command, f"--import={self.file}", *flags])

    def training_flags(self, run_dir: str, *flags: str) -> list[str]:
        own = (f"--recipe={self.recipe}", f"--run_dir={self.folder / run_dir}")
        return [f"--import={self.file}", *own, *SMALL, *flags]

    def train(self, run_dir: str, *flags: str) -> pathlib.Path:
        """Trains in this process."""
        run_command(["train", *self.training_flags(run_dir, *flags)])
        return self.folder / run_dir

    def start_training(self, run_dir: str, *flags: str, backend: str):
        """Starts a training in a process of its own."""
        script = str(ROOT / "scripts" / "train.py")
        return start(script, *self.training_flags(run_dir, *flags), backend=backend)

    def train_in_process(self, run_dir: str, *flags: str, backend: str) -> pathlib.Path:
        """Trains in a process of its own; another process may round otherwise than this one."""
        end(self.start_training(run_dir, *flags, backend=backend))
        return self.folder / run_dir

    def kill_and_resume(self, run_dir: str, *flags: str, backend: str) -> pathlib.Path:
        """Kills a training in its second epoch, and runs it to its end."""
        process = self.start_training(run_dir, *flags, backend=backend)
        checkpoints = self.folder / run_dir / "checkpoints"
        while not list(checkpoints.glob("epoch-00001-*.safetensors")):
            assert process.poll() is None, process.stderr.read()[-3000:]
        process.kill()
        process.communicate()
        assert not (self.folder / run_dir / "summary.json").exists()
        return self.train_in_process(run_dir, *flags, backend=backend)


def module(name: str):
    """Returns an example that a command has imported."""
    return sys.modules[name]
