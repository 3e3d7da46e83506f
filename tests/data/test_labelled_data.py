import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_toy import series, settings, write_jsonl, write_npz

from seqtrain.data.labelled.data import (
    LabelledData,
    encode_inputs,
    is_labelled_folder,
    load_raw_labelled,
    open_labelled,
    prepare_labelled,
)
from seqtrain.data.labelled.info import LabelledInfo
from seqtrain.errors import ConfigError, DataError

VALUES, LABELS = series(7, seed=0)


def fingerprint(path: Path, per_position: bool = False) -> str:
    return load_raw_labelled(settings(path, per_position)).store("train").fingerprint


def json_rows(**change: Any) -> list[dict[str, Any]]:
    rows = zip(VALUES, LABELS, strict=True)
    return [{"values": v.tolist(), "label": label} | change for v, label in rows]


def test_npz_json_lines_and_csv_of_the_same_examples_give_the_same_store(tmp_path: Path) -> None:
    expected = fingerprint(write_npz(tmp_path / "a.npz", VALUES, LABELS))
    assert fingerprint(write_jsonl(tmp_path / "a.jsonl", json_rows())) == expected
    lines = ["id,label,x,y"]
    for index, (rows, label) in enumerate(zip(VALUES, LABELS, strict=True)):
        lines += [f"{index},{label},{x!r},{y!r}" for x, y in rows.tolist()]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    assert fingerprint(tmp_path / "a.csv") == expected


def test_series_of_one_channel_are_read_from_rows_of_csv_and_from_npy(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,1,2,3\nup,1,2,3\ndown,3,2,\n")
    store = load_raw_labelled(settings(tmp_path / "a.csv", scale="none")).store("train")
    assert [store.example(i).inputs[:, 0].tolist() for i in (0, 1)] == [[1, 2, 3], [3, 2]]
    np.save(tmp_path / "b.npy", np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    np.save(tmp_path / "b.labels.npy", np.array([4, 10]))
    data = load_raw_labelled(settings(tmp_path / "b.npy", scale="none"))
    assert data.info.classes == ["4", "10"]
    assert data.store("train").example(1).inputs.tolist() == [[3], [2], [1]]


def test_a_prepared_folder_holds_what_the_raw_files_hold(tmp_path: Path) -> None:
    train = write_npz(tmp_path / "train.npz", VALUES, LABELS)
    valid = write_jsonl(tmp_path / "valid.jsonl", json_rows())
    chosen = settings(train, files={"valid": valid})
    lines = prepare_labelled(chosen, tmp_path / "data")
    assert "train: 7 examples of" in lines[0]
    assert "2 channels; 3 classes, one each example: a, b, c" in lines
    prepared, raw = open_labelled(tmp_path / "data"), load_raw_labelled(chosen)
    assert prepared.info.state_dict() == raw.info.state_dict()
    for split in ("train", "valid"):
        assert prepared.store(split).fingerprint == raw.store(split).fingerprint
        again = pickle.loads(pickle.dumps(prepared.store(split)))
        np.testing.assert_array_equal(again.example(3).inputs, raw.store(split).example(3).inputs)
    assert is_labelled_folder(tmp_path / "data")
    assert not is_labelled_folder(tmp_path)
    card = json.loads((tmp_path / "data/card.json").read_text())
    assert len(card["raw_files"]["train"]["sha256"]) == 64
    restored = LabelledInfo.from_state(json.loads(json.dumps(raw.info.state_dict())))
    assert restored == raw.info


def test_channels_are_scaled_by_the_training_examples(tmp_path: Path) -> None:
    shifted = [1e6 + 3 * rows for rows in VALUES]
    train = write_npz(tmp_path / "train.npz", [rows.astype("f8") for rows in shifted], LABELS)
    valid = write_npz(tmp_path / "valid.npz", [np.full((2, 2), 1e6)], ["a"])
    data = load_raw_labelled(settings(train, files={"valid": valid}))
    flat = np.concatenate(shifted).astype("f4").astype("f8")
    np.testing.assert_allclose(data.info.mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(data.info.std, flat.std(axis=0), rtol=1e-6)
    expected = (1e6 - flat.mean(axis=0)) / flat.std(axis=0)
    np.testing.assert_allclose(data.store("valid").example(0).inputs[0], expected, rtol=1e-5)


def test_symbols_and_labels_for_positions_may_be_any_characters(tmp_path: Path) -> None:
    text, labels = "a b\n\\n\r▁", "xyzxyxyz"
    rows = [{"tokens": text, "labels": labels}, {"tokens": ["a", "bc"], "labels": ["x", None]}]
    chosen = settings(write_jsonl(tmp_path / "a.jsonl", rows), per_position=True)
    prepare_labelled(chosen, tmp_path / "data")
    data = open_labelled(tmp_path / "data")
    example = data.store("train").example(0)
    assert len(set(example.inputs.tolist())) == len(set(text))
    assert "".join(data.info.classes[i] for i in example.labels) == labels
    assert data.store("train").example(1).labels.tolist() == [0, -1]
    again = encode_inputs(data.info, [{"tokens": text}])
    assert again.example(0).inputs.tolist() == example.inputs.tolist()
    assert not again.has_labels


def test_text_is_cut_by_the_tokenizer(tmp_path: Path) -> None:
    rows = [{"text": "ab", "label": "x"}, {"text": "b", "label": "y"}]
    data = load_raw_labelled(settings(write_jsonl(tmp_path / "a.jsonl", rows)))
    ids = data.store("train").example(0).inputs.tolist()
    assert encode_inputs(data.info, ["ba"]).example(0).inputs.tolist() == ids[::-1]


def test_images_keep_their_shapes_and_labels_of_pixels(tmp_path: Path) -> None:
    image = np.arange(24.0).reshape(2, 3, 4)
    np.savez(tmp_path / "a.npz", values=image, labels=(image > 5).astype(int) - 1)
    data = load_raw_labelled(settings(tmp_path / "a.npz", per_position=True, scale="none"))
    assert (data.info.rank, data.info.max_shape, data.info.classes) == (2, [3, 4], ["0"])
    example = data.store("train").example(0)
    np.testing.assert_array_equal(example.inputs[..., 0], image[0])
    np.testing.assert_array_equal(example.labels, (image[0] > 5) - 1)


def test_names_of_classes_may_come_with_the_file_or_the_settings(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", VALUES[:2], [1, 0], classes=["no", "yes"])
    assert load_raw_labelled(settings(path)).info.classes == ["no", "yes"]
    data = load_raw_labelled(settings(path, classes=["yes", "never", "no"]))
    assert [int(data.store("train").example(i).labels) for i in (0, 1)] == [0, 2]
    with pytest.raises(DataError, match="holds the labels no, which task.classes does not name"):
        load_raw_labelled(settings(path, classes=["yes"]))


BAD_ROWS = [
    ({"values": [[1.0, 2.0], [float("nan"), 1.0]]}, r"value at \[1, 0\] is nan"),
    ({"values": [[1.0, 2.0], [1.0]]}, "not numbers of one shape"),
    ({"values": [[1.0], [2.0]]}, r"values of shape \[2, 1\], expected is \[time, 2\]"),
    ({"values": []}, "no values"),
    ({"label": "q"}, "the label 'q' is not one of the training examples: a, b, c"),
    ({"label": None}, "the label is null"),
    ({"label": ["a", "b"]}, r"labels of shape \[2\], the example needs one label"),
    ({"text": "x"}, "needs one of the fields values, tokens and text"),
]


@pytest.mark.parametrize(("change", "message"), BAD_ROWS)
def test_a_bad_example_is_named_with_file_and_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    train = write_npz(tmp_path / "train.npz", VALUES, LABELS)
    rows = json_rows()
    rows[2] |= change
    valid = write_jsonl(tmp_path / "valid.jsonl", rows)
    with pytest.raises(DataError, match=rf"valid.jsonl:3: .*{message}") as caught:
        load_raw_labelled(settings(train, files={"valid": valid}))
    assert "\n" not in str(caught.value)


BAD_FILES = [
    ("a.npz", b"PK no", "not an archive of plain arrays"),
    ("a.npy", b"no", "not an array of numbers"),
    ("a.jsonl", b"{\n", "a.jsonl:1: not JSON"),
    ("a.jsonl", b'{"values": [1]}\n', "a.jsonl:1: no label"),
    ("a.csv", b"label,1\nup,x\n", "a.csv:2: could not convert"),
    ("a.csv", b"label,1\nup\n", "a.csv:2: 1 cells, the header has 2"),
    ("a.csv", b"id,label,x\n1,u,2\n1,v,3\n", "a.csv:2: the rows of id '1' have several labels"),
    ("a.txt", b"x\n", "labelled examples are read from .npz"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_a_bad_file_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_raw_labelled(settings(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    prepare_labelled(settings(write_npz(tmp_path / "train.npz", VALUES, LABELS)), tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["inputs.values", "inputs.shapes", "labels.tokens"])
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_damaged_file_is_noticed_as_the_folder_is_opened(
    prepared: Path, name: str, is_cut: bool
) -> None:
    path = prepared / f"train.{name}"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content[:-1] if is_cut else content)
    with pytest.raises(DataError, match=name):
        open_labelled(prepared)


def test_a_foreign_folder_is_not_written_over_and_an_own_one_is(prepared: Path) -> None:
    chosen = settings(prepared.parent / "train.npz")
    prepare_labelled(chosen, prepared)
    assert isinstance(open_labelled(prepared), LabelledData)
    (prepared / "card.json").write_text('{"kind": "seqtrain parallel text"}')
    with pytest.raises(ConfigError, match="holds files that seqtrain-preprocess did not write"):
        prepare_labelled(chosen, prepared)
    with pytest.raises(DataError, match="prepared for task=translation, not for task=recognition"):
        open_labelled(prepared)


def test_an_error_leaves_the_old_folder_and_nothing_else(prepared: Path) -> None:
    bad = write_jsonl(prepared.parent / "bad.jsonl", [{"values": [[1, 2]], "label": "q"}])
    before = sorted(path.name for path in prepared.parent.iterdir())
    chosen = settings(prepared.parent / "train.npz", files={"valid": bad})
    with pytest.raises(DataError, match="bad.jsonl:1"):
        prepare_labelled(chosen, prepared)
    assert sorted(path.name for path in prepared.parent.iterdir()) == before
    assert open_labelled(prepared).splits() == ["train"]


def test_inputs_to_predict_are_scaled_and_checked(prepared: Path) -> None:
    data = open_labelled(prepared)
    store = encode_inputs(data.info, [VALUES[0], {"values": VALUES[1].tolist()}])
    for index in range(2):
        np.testing.assert_array_equal(
            store.example(index).inputs, data.store("train").example(index).inputs
        )
        assert int(store.example(index).labels) == -1
    with pytest.raises(DataError, match="input 1: values of shape"):
        encode_inputs(data.info, [VALUES[0], [[1.0]]])
