"""An index finds the nearest images, says what is wrong with it, and makes a page."""

import builtins
import re
import shutil

import cv2
import numpy as np
import pytest

from keras_deit import InputError, create_model, load_run
from keras_deit.cli.main import run_command
from keras_deit.cli.searching import PAGE
from keras_deit.evaluation import evaluate_run, image_index
from keras_deit.evaluation.image_index import (
    Embedding,
    ImageIndex,
    Match,
    index_folder,
    load_index,
    votes,
)

MODEL = {"image_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
FINE = {"loops/0": 0, "loops/8": 1, "strokes/1": 2, "curves/5": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of four colors in folders two deep, and a file that is no image."""
    root = tmp_path_factory.mktemp("images") / "photos"
    rng = np.random.default_rng(0)
    for name, place in FINE.items():
        (root / name).mkdir(parents=True)
        for number in range(10):
            color = np.eye(4)[place][:3] * 200 + rng.normal(30, 10, (12, 12, 3))
            cv2.imwrite(str(root / name / f"{number}.png"), np.clip(color, 0, 255).astype("uint8"))
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.keras"
    create_model("deit_tiny_patch16_224", num_classes=3, **MODEL).save(path)
    return path


def test_search_is_that_of_every_cosine(folder, weights):
    embedding = Embedding(weights)
    index = index_folder(folder, embedding)
    rows = np.concatenate([rows for _, rows in embedding.iterate([folder])])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    (found,) = index.search(rows[:1], 5)
    cosines = rows @ rows[0]
    np.testing.assert_allclose([m.cosine for m in found], np.sort(cosines)[::-1][:5], rtol=1e-5)
    assert found[0].path == str(folder / index.paths[0]) and found[0].state == ""


def test_neighbors_vote_on_the_class():
    matches = [Match("", 0.9, label="a"), Match("", 0.8, label="b"), Match("", 0.8, label="b")]
    a, b = np.exp(0.9 / 0.2), 2 * np.exp(0.8 / 0.2)
    found = votes([*matches, Match("", 0.99)], sigma=0.2)
    assert found == pytest.approx({"a": a / (a + b), "b": b / (a + b)})
    assert [*found] == ["b", "a"] and votes([Match("", 0.5)]) == {}


def test_faiss_finds_the_same(folder, weights, monkeypatch, tmp_path):
    pytest.importorskip("faiss")
    embedding = Embedding(weights)
    exact = index_folder(folder, embedding)
    monkeypatch.setattr(image_index, "FAISS_IMAGES", 40)
    index = index_folder(folder, embedding)
    index.save(tmp_path / "index.npz")
    index = load_index(tmp_path / "index.npz")
    assert len(index.graph) and not len(exact.graph)
    queries = exact.embeddings[[0, 17, 39]]
    assert index.search(queries, 4) == exact.search(queries, 4)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'keras-deit\[search\]'"):
        index.search(queries, 4)


def test_the_commands_index_search_and_write_a_page(folder, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "photos"
    shutil.copytree(folder, own)
    (own / "loops/0/broken.png").write_bytes(b"no image")
    run_command(["index", f"--weights={weights}", str(own)])
    shown = capsys.readouterr()
    assert "40 images" in shown.out and "Left out: 1" in shown.out and "broken.png" in shown.err
    cv2.imwrite(str(own / "loops/8/3.png"), np.zeros((5, 5, 3), np.uint8))
    (own / "loops/8/4.png").unlink()
    run_command(["search", str(own / "loops/8/5.png"), "--top_k=40", "--output=found.html"])
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"  1\.0000  .*loops/8/5\.png", lines[1])
    assert sum("changed since" in line for line in lines) == 1
    assert sum("gone since" in line for line in lines) == 1
    # One search for all queries; the default page is replaced.
    searches, search = [], ImageIndex.search
    monkeypatch.setattr(ImageIndex, "search", lambda *a: searches.append(a) or search(*a))
    for _ in range(2):
        run_command(["search", str(own / "loops/8/5.png"), str(own / "curves/5/5.png"), "--vote=3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(searches) == 2 and lines[-1] == f"Written: {PAGE}"
    assert [line for line in lines if "class: " in line][:2] == [
        "  class: loops/8 1.000",
        "  class: curves/5 1.000",
    ]
    page = (tmp_path / "found.html").read_text("utf-8")
    assert page.count("data:image/png") == 40 and "http" not in page.replace("http-equiv", "")
    run_command(["index", f"--weights={weights}", str(own / "loops/8"), "--output=flat.npz"])
    other = tmp_path / "other.keras"
    create_model("deit_tiny_patch16_224", num_classes=3, **MODEL).save(other)
    for arguments, words in [
        (["search", "x.png", f"--weights={other}"], "index the folder again"),
        (["search", "x.png", "--output=found.html"], "exists already"),
        (["search", "x.png", "--index=none.npz"], "no index"),
        (["search", "x.png", "--vote=3", "--index=flat.npz"], "folder for each class"),
        (["search", "x.png", f"--index={other}"], "corrupt"),
        (["index", f"--weights={weights}", str(own)], "exists already"),
        (["index", f"--weights={weights}", "--output=i.npz", "none"], "No such folder"),
    ]:
        with pytest.raises(InputError, match=words):
            run_command(arguments)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="No images"):
        run_command(["index", f"--weights={weights}", "--output=i.npz", str(empty)])


@pytest.mark.backends("torch")
def test_a_run_of_grafit_is_searched_by_its_projector(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = ["--projection_dim=6", "--projection_hidden_dim=8", "--augmentations=2"]
    sizes = [f"--{name}={value}" for name, value in MODEL.items()]
    training = [
        *("train", f"--dataset=folder:{folder}", "--coarse=folders", "--recipe=grafit_digits"),
        *("--run_dir=run", "--epochs=2", "--batch_size=8", "--warmup_epochs=0", *values, *sizes),
    ]
    run_command(training)
    run = load_run("run")
    figures = run.summary["test"]["features"]
    assert {"knn_top1", "fine_knn_top1", "fine_map", "fine_map_oracle"} <= figures.keys()
    assert run.config["fine_class_names"] == sorted(FINE)
    capsys.readouterr()
    run_command(["evaluate", "--run_dir=run"])
    assert f"{figures['fine_map']:.4f}" in capsys.readouterr().out
    run_command(["index", "--run_dir=run", str(folder)])
    assert load_index("images.index.npz").embeddings.shape == (40, 6)
    run_command(["search", str(folder / "loops/0/1.png"), "--top_k=2"])
    for command in (["predict"], ["export", "--output_dir=out"]):
        images = [str(folder / "loops/0/1.png")] if command == ["predict"] else []
        with pytest.raises(InputError, match=r"not trained the heads.*keras-deit index"):
            run_command([*command, "--run_dir=run", *images])
    # Other data with the coarse classes alone.
    coarse = tmp_path / "coarse"
    for name in FINE:
        shutil.copytree(folder / name, coarse / name.split("/")[0], dirs_exist_ok=True)
    found = evaluate_run("run", dataset=f"folder:{coarse}")["scores"]["features"]
    assert "knn_top1" in found and "fine_knn_top1" not in found
    # A new test set of two fine classes is compared with the training images of the run.
    for name in list(FINE)[:2]:
        shutil.copytree(folder / name, tmp_path / "fine" / name)
    found = evaluate_run("run", dataset=f"folder:{tmp_path / 'fine'}")
    assert found["examples"] == 20 and "fine_knn_top1" in found["scores"]["features"]
    (tmp_path / "run" / "final.embedder.keras").unlink()
    with pytest.raises(InputError, match=r"embedder\.keras is gone.*last checkpoint"):
        Embedding("run")
    capsys.readouterr()
    run_command(training)
    assert "final.embedder.keras is gone or damaged" in capsys.readouterr().out
    run_command(["search", str(folder / "loops/0/1.png"), "--top_k=2"])
