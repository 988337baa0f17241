"""Gives each example a folder of its own."""

import pytest
from examples import Example


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    example = Example("pyramid", tmp_path_factory.mktemp("pyramid"))
    example.run("models", "--pattern=pyramid*")
    return example


@pytest.fixture(scope="module")
def contrastive(tmp_path_factory):
    example = Example("contrastive", tmp_path_factory.mktemp("contrastive"))
    example.run("recipes", "--recipe=contrastive_digits")
    return example
