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
            Cell("hard, class token", **distilled(HARD), published=83.0),
            Cell("token, class head", runs_of="token, both", head="class", published=83.0),
            Cell(
                "token, distillation head",
                runs_of="token, both",
                head="distillation",
                published=83.1,
            ),
            Cell("token, both", **TOKEN, published=83.4),
            Cell("token, soft", **distilled(SOFT, distilled=True)),
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
        datasets=("letters30",),
        reason=LETTERS,
        small=SMALL,
        paper=DEIT_BASE,
        seeds="0:5",
    )
)

register_study(
    StudyDefinition(
        name="teachers",
        title="teachers of rising accuracy, and a transformer",
        source=f"{THESIS}, table 3.2, DeiT-B at 224",
        cells=(
            Cell("no teacher", {"distillation": "none"}, published=81.8),
            Cell(
                "transformer",
                {**HARD, "distilled": True},
                small={"teacher": "run:no teacher"},
                paper={"teacher": "deit_base_patch16_224", "teacher_weights": "imagenet"},
                published=81.9,
            ),
            Cell(
                "convolutional, weak",
                {**HARD, "distilled": True},
                small={**TEACHER, "teacher_steps": 180, "accept_teacher": True},
                paper={"teacher": "regnety_040", "teacher_weights": "regnety_040.pth"},
                published=82.7,
            ),
            Cell(
                "convolutional, middling",
                {**HARD, "distilled": True},
                small={**TEACHER, "teacher_steps": 540, "accept_teacher": True},
                paper={"teacher": "regnety_080", "teacher_weights": "regnety_080.pth"},
                published=82.7,
            ),
            Cell("convolutional, strong", **TOKEN, published=83.1),
        ),
        claims=(
            Claim(
                "convolutional, strong",
                "transformer",
                "A convolutional teacher is better than a transformer.",
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
            "students. The published setting needs files of RegNetY-4GF and 8GF beside it."
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
}
_FIRST, _LAST = "cosine after the first block", "cosine after the last block"


def _disagreement(pair: tuple[str, str]) -> str:
    return f"disagreement {' and '.join(pair)}"


register_study(
    StudyDefinition(
        name="tokens",
        title="what class and distillation token and their heads have in common",
        source=f"{THESIS}, §3.4 and table 3.4, DeiT-B at 224",
        cells=(
            Cell(
                "distillation token",
                **TOKEN,
                published_figures={
                    **{_disagreement(pair): value for pair, value in _PAIRS.items()},
                    _FIRST: 0.06,
                    _LAST: 0.93,
                },
            ),
            Cell(
                "two class tokens",
                {"distillation": "none", "distilled": True},
                published_figures={_LAST: 0.999},
            ),
        ),
        figures=(
            *(Figure(_disagreement(pair), ("disagreement", *pair)) for pair in _PAIRS),
            Figure(_FIRST, ("token_cosine", 0)),
            Figure(_LAST, ("token_cosine", -1)),
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
            "The published cosine of 0.06 is that of the tokens before the first block. Two class "
            "tokens learn the labels through the mean of their heads, in the publication each on "
            "its own."
        ),
    )
)
