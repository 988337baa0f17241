"""The command `models` prints the table of models, or a part of it."""

import re

import pytest
from commands import call

from keras_deit.core.errors import InputError
from keras_deit.models import list_models, model_table


def test_all_models_are_listed():
    assert call("models").stdout == model_table(list_models()) + "\n"


def test_flags_select_models():
    selected = list_models("cait*", image_size=384, max_parameters=30e6, pretrained=True)
    flags = ("--pattern=cait*", "--image_size=384", "--max_parameters=30e6", "--pretrained")
    assert 0 < len(selected) < len(list_models("cait*"))
    assert call("models", *flags).stdout == model_table(selected) + "\n"


def test_no_model_is_an_error():
    with pytest.raises(InputError, match="model"):
        call("models", "--pattern=vgg*")


def test_the_table_is_written_between_its_lines_of_a_file(tmp_path):
    page = tmp_path / "models.md"
    page.write_text("before\n<!-- models -->\nold\n<!-- /models -->\nafter\n", "utf-8")
    call("models", f"--into={page}", "--pattern=deit_tiny*")
    text = page.read_text("utf-8")
    table = model_table(list_models("deit_tiny*"))
    assert text == f"before\n<!-- models -->\n{table}\n<!-- /models -->\nafter\n"


@pytest.mark.parametrize("content", ["no lines\n", None])
def test_a_file_without_the_lines_is_rejected(content, tmp_path):
    page = tmp_path / "models.md"
    if content is not None:
        page.write_text(content)
    with pytest.raises(InputError, match=re.escape("<!-- models -->")):
        call("models", f"--into={page}")
    assert page.exists() == (content is not None)
