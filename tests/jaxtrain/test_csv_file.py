"""CSV: what is a header, what is a label, and which line is at fault."""

import numpy as np
import pytest

from p2pai.jaxtrain import csv_file, reading
from p2pai.primitives.errors import InvalidInput


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "d.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def refusal(file, *, regression=False):
    with pytest.raises(InvalidInput) as caught:
        csv_file.read(file, regression=regression)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "1,2.5,0\n-3,4e2,1\n",
        "1,2.5,0\r\n-3,4e2,1",
        "\ufeff1,2.5,0\n-3,4e2,1\n",
        "a,b,label\n1,2.5,0\n-3,4e2,1\n",
        '"a","b","label"\n1,2.5,0\n-3,4e2,1\n',
        ",b,label\n1,2.5,0\n-3,4e2,1\n",
        "\n1,2.5,0\n\n  \n-3,4e2,1\n\n",
        " 1, 2.5 ,0\n-3,4e2, +1\n",
    ],
)
def test_the_last_column_is_the_label_and_names_are_skipped(written, text):
    x, y = csv_file.read(written(text), regression=False)
    assert x.tolist() == [[1, 2.5], [-3, 400]]
    assert x.dtype == np.float32
    assert y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        ("a,b,c,d", 1), ("a,b,c,y", 1), ("a,b,target,y", 2), ("a,b,y_1,y_2", 2), ("a,Target_x,TARGET_Y,Y", 3),
        ("a,b,y,d", 1), ("target,b,c,target", 1), ("a,b,yes,target", 1), ('a,b,"y_0","y_1"', 2),
        ("1,2,3,4", 1),
    ],
)  # fmt: skip
def test_a_regression_takes_all_trailing_targets(written, names, targets):
    file = written(f"{names}\n5,6,7,8.25\n9,10,11,-12\n")
    x, y = csv_file.read(file, regression=True)
    assert y.shape == (len(x), targets)
    assert x.shape[1] == 4 - targets
    assert y[-1, -1] == -12
    assert csv_file.read(file, regression=False)[0].shape[1] == 3


FAULTS = {
    "a,b,label\n1,2,0\n1,x,1\n": "line 3, column 2: 'x' is not a number",
    "1,2,0\n\n\n1,nan,1\n": "line 4, column 2: 'nan' is not a number",
    "1,2,0\n1,-inf,1\n": "line 2, column 2: '-inf' is not a number",
    "1,2,0\n1,1e999,1\n": "line 2, column 2: '1e999' is not a number",
    "1,2,0\n1,,1\n": "line 2, column 2: there is nothing",
    "1,2,0\n1,2,cat\n": "line 2, column 3 (the label): 'cat' is not a number",
    "1,2,0\n1,2,NaN\n": "line 2, column 3 (the label): 'NaN' is not a number",
    "1,2,0\n1,2,\n": "line 2, column 3 (the label): there is nothing",
    "1,2,0\n1,1\n": "line 2 has 2 columns, not 3 as in the first line",
    "1,2,0\n1,1,1,1\n": "line 2 has 4 columns, not 3 as in the first line",
    "a,b,label\n1,1\n": "line 2 has 2 columns, not 3 as in the first line",
    "a,b,1\n1,2,0\n": "line 1, column 1: 'a' is not a number",
    "1,2,0 # note\n3,4,1\n": "line 1, column 3 (the label): '0 # note' is not a number",
    "1,2,0\n1_000,2,1\n": "line 2, column 1: '1_000' is not a number",
    "1,2,0\n0x10,2,1\n": "line 2, column 1: '0x10' is not a number",
    '1,2,0\n"1",2,1\n': "line 2, column 1: '\"1\"' is not a number",
    "1;2;0\n1;2;1\n": "it needs a column of features, and then the label",
    "1\n2\n": "it needs a column of features, and then the label",
    "a,b,label\n": "it holds no samples, only a line of names",
    "\n \n": "it holds no samples",
}


@pytest.mark.parametrize("text", FAULTS)
def test_the_line_at_fault_is_named(written, text):
    assert refusal(written(text)) == FAULTS[text]


def test_a_regression_needs_a_feature_too(written):
    assert "column of features" in refusal(written("y_1,y_2\n1,2\n"), regression=True)


@pytest.mark.parametrize("data", [b"\xff\xfe1\0,\0", b"\x1f\x8b\x08\0abc", b"1,2,0\n1,\xe9,1\n"])
def test_what_is_not_text_is_said(written, data):
    assert refusal(written(data)) == "it is not UTF-8 text"


def test_long_cells_are_not_quoted_whole(written):
    assert len(refusal(written("1,2\n" + "x" * 500 + ",2\n"))) < 100


def test_lines_have_a_limit(written, monkeypatch):
    monkeypatch.setattr(csv_file, "LINE_LENGTH_MAX", 8)
    assert refusal(written("1,2,0\n1,2,0000000000000\n")) == "line 2 is longer than 8 characters"
    assert csv_file.read(written("1,2,0000\n"), regression=False)[1].tolist() == [0]


@pytest.mark.parametrize("cells", [1, 3, 7, 100])
def test_lines_are_parsed_in_blocks_and_numbered_through(written, monkeypatch, cells):
    monkeypatch.setattr(csv_file, "BLOCK_CELLS", cells)
    lines = [f"{i},{i % 3}" for i in range(20)]
    x, y = csv_file.read(written("a,b\n" + "\n\n".join(lines)), regression=False)
    assert x.ravel().tolist() == list(range(20))
    assert y.tolist() == [i % 3 for i in range(20)]
    lines[13] = "?,1"
    assert refusal(written("a,b\n" + "\n\n".join(lines))) == "line 28, column 1: '?' is not a number"


def test_numbers_beyond_the_limit_are_refused_while_they_are_read(written, monkeypatch):
    monkeypatch.setattr(csv_file, "BLOCK_CELLS", 4)
    file = written("1,0\n" * 100)
    monkeypatch.setattr(reading, "DATA_BYTES_MAX", 399)
    assert "more than 399 bytes" in refusal(file)
