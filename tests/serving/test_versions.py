"""Versions of served models."""

import pytest

from keras_deit.serving import versions


def test_the_next_version_is_one_above_the_highest(tmp_path):
    assert versions.next_version(tmp_path / "absent") == 1
    for name in ("2", "10", "partial-11", "12.bak", "²"):
        (tmp_path / name).mkdir()
    assert versions.next_version(tmp_path) == 11


def make_saved_model(path):
    path.mkdir()
    (path / "saved_model.pb").write_text(path.name)
    return path


def test_publish_moves_the_directory(tmp_path):
    version = versions.publish(make_saved_model(tmp_path / "partial"), tmp_path / "name")
    assert version == tmp_path / "name" / "1"
    assert (version / "saved_model.pb").read_text() == "partial"
    assert not (tmp_path / "partial").exists()


def test_publish_takes_the_next_version_if_another_export_was_faster(tmp_path, monkeypatch):
    """Both exports computed that the next version is 1, and the other one has just taken it."""
    theirs = versions.publish(make_saved_model(tmp_path / "theirs"), tmp_path / "name")
    original, outdated = versions.next_version, iter([1])
    monkeypatch.setattr(
        versions, "next_version", lambda path: next(outdated, None) or original(path)
    )
    ours = versions.publish(make_saved_model(tmp_path / "ours"), tmp_path / "name")
    assert ours == tmp_path / "name" / "2"
    assert (theirs / "saved_model.pb").read_text() == "theirs"
    assert (ours / "saved_model.pb").read_text() == "ours"


def test_publish_raises_other_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        versions.publish(tmp_path / "absent", tmp_path / "name")
