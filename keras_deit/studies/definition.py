"""What a study consists of: the trainings that it compares, and what it claims about them."""

import dataclasses

from keras_deit.core.errors import InputError
from keras_deit.core.registry import Registry

SCALES = ("small", "paper")
# The heads of a distilled model, and their mean.
HEADS = ("class", "distillation", "fused")
TOP1 = "top-1"
# Stands before the name of a cell in an option.
RUN_OF = "run:"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a run besides its top-1, from its `evaluation.json`.

    Attributes:
        name: title of its column.
        path: keys and indices that lead to it; of a disagreement the names of its two classifiers.
    """

    name: str
    path: tuple


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row of the table: a training with several seeds, and the head whose top-1 counts.

    Attributes:
        name: what is different about it.
        options: options of `keras_deit.train`, besides those of the study. "run:CELL" stands for
            the run of another cell with the same seed: as `weights` to start from, or as `teacher`.
            With a `pruning_rate`, options of `keras_deit.prune` instead.
        small, paper: further ones at one of the scales.
        head: whose top-1 counts: "class", "distillation", or "fused" for the mean of the heads.
        averaged: whether the top-1 is that of the EMA of the weights.
        runs_of: name of the cell whose runs are used; by default it has runs of its own.
        pruning_rate: the runs of `runs_of` are pruned at this rate, and those that come out used.
        compared_with: name of the cell whose answers, with the same seed, its disagreement has too.
        published: top-1 of the source in percent, or None.
        published_figures: other figures of the source, by name.
    """

    name: str
    options: dict = dataclasses.field(default_factory=dict)
    small: dict = dataclasses.field(default_factory=dict)
    paper: dict = dataclasses.field(default_factory=dict)
    head: str = "fused"
    averaged: bool = False
    runs_of: str | None = None
    pruning_rate: float | None = None
    compared_with: str | None = None
    published: float | None = None
    published_figures: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def runs_from(self) -> str:
        """Name of the cell whose runs have its figures."""
        is_own = self.runs_of is None or self.pruning_rate is not None
        return self.name if is_own else self.runs_of

    def options_at(self, scale: str) -> dict:
        """Returns the options at a scale, besides those of the study."""
        return {**self.options, **(self.small if scale == "small" else self.paper)}

    def needs(self, scale: str) -> dict[str, str]:
        """Returns the cells whose runs it starts from at a scale, by the name of the option."""
        return {
            name: value.removeprefix(RUN_OF)
            for name, value in self.options_at(scale).items()
            if isinstance(value, str) and value.startswith(RUN_OF)
        }


@dataclasses.dataclass(frozen=True)
class Claim:
    """That one figure is larger than another.

    Attributes:
        better: name of the cell whose figure is said to be larger.
        worse: name of the other one.
        text: the claim in words.
        figures: names of their figures.
    """

    better: str
    worse: str
    text: str
    figures: tuple[str, str] = (TOP1, TOP1)


@dataclasses.dataclass(frozen=True)
class StudyDefinition:
    """A study. It is data: no code depends on its name.

    Attributes:
        name: name of the study.
        title: what is compared, in a line.
        source: the published table.
        cells: the rows of the table.
        claims: what the source says about them.
        datasets: names of the data at the scale "small", as `study_dataset` takes them.
        reason: why these data were chosen.
        small: options of all cells at the scale "small".
        paper: options of all cells at the scale "paper", the published setting.
        seeds: the seeds, as `parse_seeds` takes them.
        figures: figures besides the top-1.
        remarks: what differs from the published setting besides its size.
    """

    name: str
    title: str
    source: str
    cells: tuple[Cell, ...]
    claims: tuple[Claim, ...]
    datasets: tuple[str, ...]
    reason: str
    small: dict
    paper: dict
    seeds: str = "0:3"
    figures: tuple[Figure, ...] = ()
    remarks: str = ""

    def __post_init__(self):
        names = [cell.name for cell in self.cells]
        figures = {TOP1, *(figure.name for figure in self.figures)}
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"Study {self.name} has several cells {sorted(twice)}.")
        trained = [cell.name for cell in self.trained]
        for place, cell in enumerate(self.cells):
            if cell.head not in HEADS:
                raise InputError(
                    f"head should be one of {', '.join(HEADS)}. Received: {cell.head!r}"
                )
            if cell.runs_of is not None and cell.runs_of not in trained:
                raise InputError(f"Cell {cell.name!r} uses the runs of no cell: {cell.runs_of!r}")
            if cell.compared_with not in (None, *trained):
                raise InputError(
                    f"Cell {cell.name!r} is compared with no cell: {cell.compared_with!r}"
                )
            if cell.pruning_rate is not None and cell.runs_of is None:
                raise InputError(f"Cell {cell.name!r} needs runs_of: the runs to prune.")
            if unknown := cell.published_figures.keys() - figures:
                raise InputError(f"Cell {cell.name!r} has figures of no name: {sorted(unknown)}")
            needed = {name for scale in SCALES for name in cell.needs(scale).values()}
            if not needed <= {*trained} & {*names[:place]}:
                raise InputError(f"Cell {cell.name!r} needs runs of cells before it.")
        for claim in self.claims:
            if {claim.better, claim.worse} - {*names} or {*claim.figures} - figures:
                raise InputError(f"A claim of study {self.name} is about no cell: {claim}")

    @property
    def trained(self) -> list[Cell]:
        """The cells that have runs of their own."""
        return [cell for cell in self.cells if cell.runs_of is None]

    @property
    def pruned(self) -> list[Cell]:
        """The cells whose runs are pruned ones of another cell."""
        return [cell for cell in self.cells if cell.pruning_rate is not None]

    def origins(self, cell: Cell, scale: str) -> set[str]:
        """Returns the cells without an origin of their own whose runs those of a cell come from.

        By seed: runs that start from another run, are taught by it, or are pruned from it, come
        from it. All others come from themselves.
        """
        names = {*cell.needs(scale).values()}
        if cell.runs_of is not None:
            names = {cell.runs_of}
        by_name = {other.name: other for other in self.cells}
        found = [self.origins(by_name[name], scale) for name in names]
        return set().union(*found) if found else {cell.name}


STUDIES: Registry[StudyDefinition] = Registry("study")


def register_study(study: StudyDefinition) -> StudyDefinition:
    """Registers a study by its name."""
    STUDIES.add(study.name, study)
    return study


def get_study(name: str) -> StudyDefinition:
    """Returns a study by name.

    Raises:
        InputError: there is no such study.
    """
    return STUDIES[name]


def list_studies() -> list[str]:
    """Returns the names of all studies."""
    return list(STUDIES)


def study_list() -> str:
    """Returns the studies and what each compares, as lines of text."""
    width = max(map(len, STUDIES)) + 2
    return "\n".join(
        f"  {study.name:{width}}{study.title} ({study.source})" for study in STUDIES.values()
    )
