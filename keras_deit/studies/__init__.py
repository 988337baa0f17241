"""Studies: trainings that mirror a published table, with seeds, spread and a verdict."""

from keras_deit.studies import catalog as _catalog  # noqa: F401  (registers the studies)
from keras_deit.studies.data import embedded_names, study_dataset
from keras_deit.studies.definition import (
    STUDIES,
    Cell,
    Claim,
    Figure,
    StudyDefinition,
    get_study,
    list_studies,
    register_study,
    study_list,
)
from keras_deit.studies.options import study_folder
from keras_deit.studies.pages import html_page, markdown_page
from keras_deit.studies.planned import study_plan
from keras_deit.studies.results import study_document
from keras_deit.studies.running import run_study

STUDIES.protect()

__all__ = [
    "Cell",
    "Claim",
    "Figure",
    "StudyDefinition",
    "embedded_names",
    "get_study",
    "html_page",
    "list_studies",
    "markdown_page",
    "register_study",
    "run_study",
    "study_dataset",
    "study_document",
    "study_folder",
    "study_list",
    "study_plan",
]
