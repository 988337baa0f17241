"""Pairs of texts: files, splits, names in two languages, sub-words and batches."""

import itertools
import random
import sys

import numpy as np
import pytest

from keras_deit import InputError
from keras_deit.sequence import (
    END,
    START,
    PairBatches,
    Subwords,
    load_pairs,
    read_pairs,
    split_pairs,
)
from keras_deit.sequence.pairs import shared_texts


def write(path, *lines):
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def test_files_are_read_and_what_is_dropped_is_said(tmp_path):
    path = write(
        tmp_path / "pairs.tsv",
        *("\ufeffone\teins\r\n", "two \u2028 three\tzwei\n", "\tleer\n", "\n", "one\teins\n"),
        "four\tvier",
    )
    pairs, notes = read_pairs(path)
    assert pairs == [("one", "eins"), ("two three", "zwei"), ("four", "vier")]
    assert sorted(notes) == [
        "pairs.tsv: 1 duplicate pairs dropped",
        "pairs.tsv: 2 pairs with an empty side dropped",
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a\tb\n", "no tab\n"), "line 2, .*two columns.*Received: 1"),
        (("a\tb\tc\n",), "line 1, .*Received: 3"),
        (("a\tb\n", b"\xff\tb\n"), "line 2, is not UTF-8: .* byte 0"),
        (("\tb\n",), "no pair"),
    ],
)
def test_bad_files(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        read_pairs(write(tmp_path / "pairs.tsv", *lines))
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "none.tsv")


def texts_of(pairs):
    return {text.casefold() for pair in pairs for text in pair}


def test_no_text_is_in_two_splits():
    rng = random.Random(0)
    pairs = [(f"Word {rng.randrange(200)}", f"WORT {rng.randrange(400)}") for _ in range(150)]
    pairs += [("Georgia", "Georgien"), ("GEORGIA", "Georgia"), ("x", "georgien")]
    splits = split_pairs(pairs)
    texts = {name: texts_of(split) for name, split in splits.items()}
    for one, other in itertools.combinations(texts.values(), 2):
        assert not one & other
    assert sorted(pair for split in splits.values() for pair in split) == sorted(pairs)
    assert len(splits["test"]) == len(splits["validation"]) == 15
    rng.shuffle(pairs)
    assert {name: sorted(split) for name, split in split_pairs(pairs).items()} == {
        name: sorted(split) for name, split in splits.items()
    }
    with pytest.raises(InputError, match="too few"):
        split_pairs([("a", "b"), ("b", "c"), ("c", "d")])


def test_names_in_two_languages():
    pairs = load_pairs("names:en-de")
    splits = (pairs.train, pairs.validation, pairs.test)
    together = [pair for split in splits for pair in split]
    assert ("Germany", "Deutschland") in together and len(together) > 2000
    assert min(len(pairs.validation), len(pairs.test)) > 200
    for one, other in itertools.combinations(splits, 2):
        assert not texts_of(one) & texts_of(other)
    # Singular and plural of a currency stay together.
    both = {"Icelandic Króna", "Icelandic krónur"}
    assert [len(both & {source for source, _ in split}) for split in splits].count(2) == 1
    assert load_pairs("names:en-de").digest() == pairs.digest()


def test_files_that_are_held_out_lose_no_pair_to_training(tmp_path):
    train = write(tmp_path / "train.tsv", "a\tA1\n", "b\tB1\n", "held\tC1\n", "d\tD1\n")
    validation = write(tmp_path / "validation.tsv", "v\tV1\n", "D1\tw\n", "t\tx\n")
    test = write(tmp_path / "test.tsv", "Held\tT1\n", "t\ty\n")
    pairs = load_pairs(str(train), str(validation), str(test))
    assert pairs.train == [("a", "A1"), ("b", "B1")]
    assert pairs.validation == [("v", "V1"), ("D1", "w")] and len(pairs.test) == 2
    assert "train: 2 pairs that share a text with later splits dropped" in pairs.notes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": "names:en"}, "names:en-de"),
        ({"train": "names:en-xx"}, "no language 'xx'"),
        ({"train": "names:en-de", "languages": "en-de"}, "says them itself"),
        ({"train": "names:en-de", "validation": "a.tsv"}, "together"),
        ({"train": "names:en-de", "validation": "a.tsv", "test": "b.tsv"}, "go with a .tsv"),
        ({"train": "none.tsv"}, "none.tsv cannot be read"),
        ({"train": "wmt14_translat/de-en"}, "wmt14_translate"),
    ],
)
def test_bad_datasets(values, message):
    with pytest.raises(InputError, match=message):
        load_pairs(**values)


def test_sub_words_are_those_of_the_texts(tmp_path):
    texts = ["Südafrika", "South Africa", "Südsudan", "South Sudan"] * 3
    subwords = Subwords.learn(texts, 60)
    assert subwords.decode(subwords.encode(texts)) == texts
    assert min(map(min, subwords.encode(texts))) > 3 and len(subwords) <= 60
    subwords.write(tmp_path / "subwords.model")
    read = Subwords.read(tmp_path / "subwords.model")
    assert read.encode(texts) == subwords.encode(texts)
    with pytest.raises(InputError, match="5 sub-words"):
        Subwords.learn(texts, 5)
    with pytest.raises(InputError, match="cannot be read"):
        Subwords(b"none")


@pytest.mark.parametrize("package", ["sentencepiece", "sacrebleu", "babel"])
def test_what_is_not_installed_is_one_line(package, monkeypatch):
    from keras_deit.sequence import translation_scores
    from keras_deit.sequence.names import name_pairs

    monkeypatch.setitem(sys.modules, package, None)
    calls = {
        "sentencepiece": lambda: Subwords.learn(["a"], 9),
        "sacrebleu": lambda: translation_scores(["a"], ["a"]),
        "babel": lambda: name_pairs(("en", "de")),
    }
    with pytest.raises(InputError, match=r"pip install 'keras-deit\[sequence\]'"):
        calls[package]()


def test_batches_depend_on_their_number_alone():
    rng = np.random.default_rng(0)
    sources = [rng.integers(4, 9, rng.integers(1, 30)).tolist() for _ in range(50)]
    targets = [source[::-1] for source in sources]
    batches = PairBatches(sources, targets, 8, max_length=40, seed=3)
    assert batches.steps_per_pass == 6
    straight = list(itertools.islice(batches.iterate(0), 15))
    for number in (0, 5, 6, 13):
        inputs, labels, _ = next(batches.iterate(number))
        np.testing.assert_array_equal(labels, straight[number][1])
        assert inputs["source"].shape == labels.shape and labels.shape[1] in (16, 32)
    seen = {tuple(row[row > 0][:-1]) for inputs, *_ in straight[:6] for row in inputs["source"]}
    assert len(seen) == 48
    inputs, labels, _ = straight[0]
    row = labels[0][labels[0] > 0]
    np.testing.assert_array_equal(inputs["target"][0][: len(row)], [START, *row[:-1]])
    np.testing.assert_array_equal(inputs["source"][0][: len(row)], [*row[:-1][::-1], END])
    once = list(batches.once())
    assert len(once) == 7 and sum((labels[:, 0] > 0).sum() for _, labels, _ in once) == 50


@pytest.mark.parametrize("batch_size", [3, 8, 50])
def test_weighted_means_are_those_over_the_tokens(batch_size):
    rng = np.random.default_rng(0)
    rows = [rng.integers(4, 9, rng.integers(1, 30)).tolist() for _ in range(50)]
    batches = PairBatches(rows, rows, batch_size, max_length=40)

    def means(found):
        return [(labels * weights).mean() for _, labels, weights in found]

    tokens = [token for row in rows for token in (*row, END)]
    assert np.mean(means(batches.once())) == pytest.approx(np.mean(tokens), rel=1e-5)
    inputs, labels, weights = next(batches.iterate(0))
    assert means([(inputs, labels, weights)]) == pytest.approx([labels[labels > 0].mean()])


def test_shared_texts_are_found_whichever_are_more():
    few = [("One", "eins"), ("two", "zwei"), ("x", "Three")]
    many = [("three", "drei"), ("ONE", "un"), ("four", "vier"), ("five", "fünf")]
    assert shared_texts(few, many) == [few[0], few[2]]
    assert shared_texts(many, few) == many[:2]
