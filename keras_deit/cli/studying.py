"""The command study."""

import shlex
import sys

from keras_deit.core.errors import InputError
from keras_deit.recipes import Option
from keras_deit.studies import get_study, markdown_page, run_study, study_list, study_plan
from keras_deit.studies.definition import SCALES


def study_options() -> list[Option]:
    return [
        Option(
            "dataset",
            "texts",
            "Data instead of the study's: letters30, crops40 or mnist30 with so many training "
            "images of a class, or as keras-deit train takes them.",
        ),
        Option("seeds", str, "Seeds of each training, such as 0:3; by default the study's."),
        Option(
            "scale",
            str,
            "Size of the models and data: small for two cores, or the published setting.",
            SCALES,
            default="small",
        ),
        Option(
            "parallel_seeds", int, "Number of trainings at once, of any rows and seeds.", minimum=1
        ),
        Option("output_dir", str, "Directory of the study; by default one below runs/."),
        Option("plan", bool, "Only write the data and print what the trainings would take."),
    ]


def run_study_command(values: dict) -> None:
    """Runs a study and writes its pages, or lists the studies."""
    name, *others = values["study"]
    if others:
        raise InputError(f"Give one study. Received: {name} {' '.join(others)}")
    if name == "list":
        print(study_list())
        return
    study, datasets = get_study(name), values.get("dataset")
    scale = values["scale"]
    output = values.get("output_dir")
    if values.get("plan"):
        for line in study_plan(study.name, datasets, values.get("seeds"), scale, output):
            print(line)
        return
    command = shlex.join(["keras-deit", *sys.argv[1:]])
    document = run_study(
        study.name,
        datasets,
        values.get("seeds"),
        scale,
        output,
        values.get("parallel_seeds", 1),
        values.get("imports", ()),
        command=command,
    )
    print(markdown_page(document, command))
