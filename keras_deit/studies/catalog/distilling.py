"""Studies of distillation."""

from keras_deit.studies.catalog.common import (
    DEIT_BASE,
    HARD,
    LETTERS,
    SMALL,
    SOFT,
    TEACHER,
    THESIS,
    TOKEN,
    distilled,
)
from keras_deit.studies.definition import Cell, Claim, Figure, StudyDefinition, register_study

register_study(
    StudyDefinition(
        name="distillation",
        title="ways to distill a convolutional teacher",
        source=f"{THESIS}, table 3.3, DeiT-B at 224",
        cells=(
            Cell("none", {"distillation": "none"}, published=81.8),
            Cell("soft, class token", **distilled(SOFT), published=81.8),
            Cell("soft, class token, weight 0.9", **distilled({**SOFT, "alpha": 0.9})),
            Cell("hard, class token", **distilled(HARD), published=83.0),
            Cell("token, class head", runs_of="token, both", head="class", published=83.0),
            Cell(
                "token, distillation head",
                runs_of="token, both",
                head="distillation",
                published=83.1,
            ),
            Cell("token, both", **TOKEN, published=83.4),
            Cell("token, soft", **distilled({**SOFT, "alpha": 0.5}, distilled=True)),
        ),
        claims=(
            Claim("token, both", "none", "Distillation through a token helps."),
            Claim("hard, class token", "soft, class token", "Hard labels are better than soft."),
            Claim("token, both", "hard, class token", "A token of its own is better than none."),
            Claim(
                "token, distillation head",
                "token, class head",
                "The distillation head is better than the class head.",
            ),
            Claim("token, both", "token, distillation head", "Both heads are better than one."),
        ),
        datasets=("letters10", "letters30"),
        reason=LETTERS,
        small=SMALL,
        paper=DEIT_BASE,
        seeds="0:5",
        remarks=(
            "Weight is that of the teacher's distribution in the loss: 0.1 in the publication, and "
            "0.5 with a token. A poster on CIFAR-10 has for a DeiT-Ti of 20 epochs with a "
            "ResNet-18 (88.46) as its teacher: none 67.69, soft 68.85, hard 40.19; with the token "
            "by class head 61.69, by distillation head 8.07, both 46.11, and soft 69.19. Its hard "
            "rows are as if the classes of teacher and student were in different orders."
        ),
    )
)


def _taught(name: str, small: dict, teacher: str, published: float, weights="imagenet") -> Cell:
    return Cell(
        name,
        {**HARD, "distilled": True},
        small={**small, "accept_teacher": True},
        paper={"teacher": teacher, "teacher_weights": weights},
        published=published,
    )


# RegNetY by the steps of the training of the teacher that stands for it, and top-1 of the student.
_CONVOLUTIONAL = {
    "weak": ("regnety_040", 180, 82.7),
    "middling": ("regnety_080", 540, 82.7),
    "good": ("regnety_120", 900, 83.1),
}

register_study(
    StudyDefinition(
        name="teachers",
        title="convolutional teachers and transformers of rising accuracy",
        source=f"{THESIS}, table 3.2, DeiT-B at 224",
        cells=(
            Cell("no teacher", {"distillation": "none"}, published=81.8),
            Cell(
                "no teacher, weaker",
                {"distillation": "none"},
                small={"steps": 600},
                paper={"model": "deit_small_patch16_224"},
                published=79.8,
            ),
            Cell(
                "transformer, weak",
                {**HARD, "distilled": True, "teacher": "run:no teacher, weaker"},
                small={"accept_teacher": True},
            ),
            Cell(
                "transformer",
                {**HARD, "distilled": True, "teacher": "run:no teacher"},
                published=81.9,
            ),
            *(
                _taught(
                    f"convolutional, {name}",
                    {**TEACHER, "teacher_steps": steps},
                    *(teacher, published, f"{teacher}.pth"),
                )
                for name, (teacher, steps, published) in _CONVOLUTIONAL.items()
            ),
            Cell("convolutional, strong", **TOKEN, published=83.1),
        ),
        claims=(
            Claim(
                "convolutional, middling",
                "transformer",
                "A convolutional teacher is better than a transformer of about its accuracy.",
            ),
            Claim(
                "convolutional, strong",
                "convolutional, weak",
                "The more accurate teacher is the better one.",
            ),
            Claim("convolutional, strong", "no teacher", "A convolutional teacher helps."),
        ),
        figures=(Figure("top-1 of the teacher", ("figures", "teacher", "top1")),),
        datasets=("letters30",),
        reason=LETTERS,
        small=SMALL,
        paper=DEIT_BASE,
        remarks=(
            "All seeds of a convolutional row have the same teacher, so the spread is that of the "
            "students; a transformer teacher is the run of another row with the same seed. The "
            "published setting needs files of RegNetY-4GF, 8GF and 12GF beside it."
        ),
    )
)

# Of the published DeiT-B; the names are those of the disagreement in `evaluation.json`.
_PAIRS = {
    ("ground truth", "teacher"): 0.171,
    ("ground truth", "class"): 0.170,
    ("ground truth", "distillation"): 0.169,
    ("ground truth", "both"): 0.166,
    ("teacher", "class"): 0.112,
    ("teacher", "distillation"): 0.100,
    ("teacher", "both"): 0.102,
    ("class", "distillation"): 0.050,
    ("class", "both"): 0.033,
    ("distillation", "both"): 0.019,
    ("ground truth", "no distillation"): 0.182,
    ("teacher", "no distillation"): 0.133,
    ("no distillation", "class"): 0.109,
    ("no distillation", "distillation"): 0.110,
    ("no distillation", "both"): 0.107,
}
_FIRST, _LAST = "cosine after the first block", "cosine after the last block"
# Indices of the blocks. At the scale "small" these are all of them.
_COSINES = {
    **{_FIRST: 0, "cosine after the second block": 1, "cosine after the third block": 2, _LAST: -1}
}


def _disagreement(pair: tuple[str, str]) -> str:
    return f"disagreement {' and '.join(pair)}"


register_study(
    StudyDefinition(
        name="tokens",
        title="what class and distillation token and their heads have in common",
        source=f"{THESIS}, §3.4 and table 3.4, DeiT-B at 224",
        cells=(
            Cell("no distillation", {"distillation": "none"}, published=81.8),
            Cell(
                "distillation token",
                **TOKEN,
                compared_with="no distillation",
                published=83.4,
                published_figures={
                    **{_disagreement(pair): value for pair, value in _PAIRS.items()},
                    _FIRST: 0.06,
                    _LAST: 0.93,
                },
            ),
            Cell(
                "two class tokens",
                {"distillation": "none", "distilled": True, "per_head_loss": True},
                published_figures={_LAST: 0.999},
            ),
        ),
        figures=(
            *(Figure(_disagreement(pair), ("disagreement", *pair)) for pair in _PAIRS),
            *(Figure(name, ("token_cosine", index)) for name, index in _COSINES.items()),
        ),
        claims=(
            Claim(
                "distillation token",
                "distillation token",
                "The distillation head agrees with the teacher more than the class head does.",
                ("disagreement teacher and class", "disagreement teacher and distillation"),
            ),
            Claim(
                "distillation token",
                "distillation token",
                "Both heads together agree with the teacher more than a model without one does.",
                ("disagreement teacher and no distillation", "disagreement teacher and both"),
            ),
            Claim(
                "distillation token",
                "distillation token",
                "The two tokens become more alike from block to block.",
                (_LAST, _FIRST),
            ),
            Claim(
                "two class tokens",
                "distillation token",
                "Two class tokens are more alike than class and distillation token.",
                (_LAST, _LAST),
            ),
        ),
        datasets=("letters30",),
        reason=LETTERS,
        small=SMALL,
        paper=DEIT_BASE,
        remarks=(
            "The published cosine of 0.06 is that of the tokens before the first block. Each of "
            "two class tokens has the labels as its target."
        ),
    )
)
