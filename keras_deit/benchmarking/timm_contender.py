"""timm as a contender of a benchmark.

The worker imports it from its own folder, because timm may be in an environment without this
package.
"""

import itertools
import sys
from collections.abc import Callable


def timm_step(task, framework, batch: Callable) -> tuple[Callable, dict[str, str]]:
    """Returns the step of a task, and versions of packages by name.

    Args:
        task: a `worker.Task`.
        framework: that of PyTorch.
        batch: returns images and labels for a task and a framework.
    """
    import timm
    import torch

    versions = {"torch": torch.__version__, "timm": timm.__version__}
    if task.mode in ("input", "load") and task.compiled:
        sys.exit(f"torch.compile changes nothing in mode {task.mode}.")
    if task.mode == "input":
        return _input(task, framework), versions
    model = _model(task, task.model).to(framework.place)
    if task.mode == "load":
        from timm.models import load_checkpoint

        return lambda: load_checkpoint(model, task.files), versions
    model.train(task.mode != "inference")
    images, labels = batch(task, framework, channels_first=True)
    call = torch.compile(model) if task.compiled else model
    make = _forward if task.mode == "inference" else _train
    return make(task, framework, model, call, images, labels), versions


def _model(task, name: str, what: str = ""):
    """Returns timm's model of a name, of which an error says what it is."""
    import timm

    if not timm.is_model(name):
        sys.exit(f"timm has no {name}{what}.")
    sizes = {"img_size": task.image_size} if task.resized and not what else {}
    return timm.create_model(name, num_classes=task.classes, **sizes)


def _input(task, framework) -> Callable:
    import torch
    from timm.data import FastCollateMixup, ImageDataset, create_loader

    class Repeated(torch.utils.data.Dataset):
        """The images again and again, because a loader pauses between epochs."""

        def __init__(self, images):
            self.images = images

        @property
        def transform(self):
            return self.images.transform

        @transform.setter
        def transform(self, value):
            self.images.transform = value

        def __len__(self):
            return task.epoch

        def __getitem__(self, index):
            return self.images[index % len(self.images)]

    mixing = FastCollateMixup(
        **{"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "label_smoothing": 0.1},
        num_classes=task.classes,
    )
    loader = create_loader(
        Repeated(ImageDataset(task.files)),
        input_size=(3, task.image_size, task.image_size),
        batch_size=task.batch_size,
        is_training=True,
        **{"auto_augment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.3, "re_prob": 0.25},
        **{"re_mode": "pixel", "interpolation": "bicubic"},
        num_workers=task.threads,
        collate_fn=mixing,
        device=torch.device(framework.place),
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def read():
        next(batches)
        framework.wait()

    return read


def _autocast(task, framework):
    import torch

    enabled = task.precision != "float32"
    return torch.autocast(framework.place, torch.bfloat16, enabled=enabled)


def _forward(task, framework, model, call, images, labels) -> Callable:
    import torch

    def forward():
        with torch.inference_mode(), _autocast(task, framework):
            call(images)
        framework.wait()

    return forward


def _train(task, framework, model, call, images, labels) -> Callable:
    import torch
    from torch.nn.functional import cross_entropy

    teacher = None
    if task.mode == "distill":
        teacher = _model(task, task.teacher, ", the teacher").eval().to(framework.place)
        if hasattr(model, "set_distilled_training"):
            model.set_distilled_training(True)

    def loss_of(outputs, decisions):
        if decisions is None:
            return cross_entropy(outputs.float(), labels)
        heads = outputs if isinstance(outputs, tuple) else (outputs, outputs)
        pairs = zip(heads, (labels, decisions), strict=True)
        return sum(cross_entropy(head.float(), target) for head, target in pairs) / 2

    optimizer = torch.optim.AdamW(
        model.parameters(), 1e-4, weight_decay=0.05, fused=framework.accelerated
    )

    def train():
        with _autocast(task, framework):
            with torch.no_grad():
                decisions = None if teacher is None else teacher(images).argmax(-1)
            outputs = call(images)
        optimizer.zero_grad()
        loss = loss_of(outputs, decisions)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train
