"""Datasets, the loader, the IDX reader and the image collections."""

import gzip
import hashlib
import os
import struct
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minigrad as mg
from minigrad import data
from minigrad.data import DataLoader, Dataset, Subset, TensorDataset, images, random_split, read_idx


class Squares(Dataset):
    """A dataset without `take`: its samples are dictionaries."""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return {"x": np.full(2, i, np.float32), "y": (i * i, float(i)), "name": f"n{i}"}


def numbers(n):
    return TensorDataset(np.arange(n, dtype=np.float32)[:, None] * 2, np.arange(n))


# Datasets


def test_tensor_dataset_rows_and_take():
    d = numbers(5)
    assert len(d) == 5
    x, y = d[3]
    assert x.tolist() == [6.0] and y.item() == 3
    x, y = d.take(np.array([4, 0, 0]))
    assert x.tolist() == [[8.0], [0.0], [0.0]] and y.tolist() == [4, 0, 0]
    x[0] = -1.0  # a batch is a copy
    assert d[4][0].tolist() == [8.0]


@pytest.mark.parametrize("tensors", [(), ([[1.0], [2.0]], [1]), (1.0,)])
def test_tensor_dataset_refuses_lengths_that_differ(tensors):
    with pytest.raises(ValueError, match="TensorDataset: "):
        TensorDataset(*tensors)


def test_dataset_is_abstract():
    with pytest.raises(NotImplementedError, match=r"Dataset: .* __getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match=r"Dataset: .* __len__"):
        len(Dataset())


def test_subset_with_and_without_take():
    part = Subset(numbers(6), [5, 1, -1])
    assert [part[i][1].item() for i in range(3)] == [5, 1, 5]
    assert part.take(np.array([1, 2]))[1].tolist() == [1, 5]
    assert Subset(part, [2])[0][1].item() == 5
    plain = Subset(Squares(), [2, 3])
    assert not hasattr(plain, "take")
    assert plain[1]["name"] == "n3" and len(plain) == 2
    with pytest.raises(IndexError, match="Subset: index 7 is out of range for 7 samples"):
        Subset(Squares(), [0, 7])
    with pytest.raises(TypeError, match="Subset: indices must be"):
        Subset(Squares(), [0.5])


def test_random_split_is_a_partition_and_reproducible():
    g = mg.random.Generator(3)
    a, b = random_split(numbers(10), [7, 3], g)
    assert sorted([*a.indices, *b.indices]) == list(range(10)) and len(a) == 7
    again, _ = random_split(numbers(10), [7, 3], mg.random.Generator(3))
    assert again.indices.tolist() == a.indices.tolist() != list(range(7))
    parts = random_split(numbers(10), [0.55, 0.25, 0.2])
    assert [len(p) for p in parts] == [6, 2, 2]


@pytest.mark.parametrize("lengths", [[5, 4], [-1, 11], [0.5, 0.6], [2.5, 7.5], [float("nan"), 1]])
def test_random_split_refuses_lengths_that_do_not_add_up(lengths):
    with pytest.raises(ValueError, match="random_split: lengths must"):
        random_split(numbers(10), lengths)


# The loader


@given(n=st.integers(0, 20), size=st.integers(1, 7), drop=st.booleans(), shuffle=st.booleans())
def test_loader_goes_through_all_samples_once(n, size, drop, shuffle):
    loader = DataLoader(numbers(n), size, shuffle, drop_last=drop, seed=1)
    batches = list(loader)
    assert len(batches) == len(loader) == (n // size if drop else -(-n // size))
    seen = [i for _, y in batches for i in y.tolist()]
    assert len(seen) == len(set(seen)) == (n - n % size if drop else n)
    for x, y in batches:
        assert x.tolist() == [[2.0 * i] for i in y.tolist()]
    if not shuffle:
        assert seen == list(range(len(seen)))


def orders(loader, passes=2):
    return [[i for _, y in loader for i in y.tolist()] for _ in range(passes)]


def test_shuffling_is_reproducible_and_differs_between_passes():
    first, second = orders(DataLoader(numbers(50), 8, shuffle=True, seed=5))
    assert first != second
    assert [first, second] == orders(DataLoader(numbers(50), 8, shuffle=True, seed=5))
    assert first != orders(DataLoader(numbers(50), 8, shuffle=True, seed=6))[0]
    given = DataLoader(numbers(50), 8, shuffle=True, generator=mg.random.Generator(5))
    assert orders(given) == [first, second]
    mg.manual_seed(9)
    third = orders(DataLoader(numbers(50), 8, shuffle=True))
    mg.manual_seed(9)
    assert orders(DataLoader(numbers(50), 8, shuffle=True)) == third


def test_samples_one_by_one_and_all_at_once_make_the_same_batches():
    class Plain(Dataset):
        def __len__(self):
            return 9

        def __getitem__(self, i):
            return numbers(9)[i]

    fast = DataLoader(numbers(9), 4, shuffle=True, seed=2)
    slow = DataLoader(Plain(), 4, shuffle=True, seed=2)
    for (x, y), (u, v) in zip(fast, slow, strict=True):
        assert x.tolist() == u.tolist() and y.tolist() == v.tolist()
        assert x.dtype == u.dtype and y.dtype == v.dtype


def test_collating_goes_into_dictionaries_and_tuples():
    batch = next(iter(DataLoader(Squares(), batch_size=3)))
    assert batch["x"].shape == (3, 2) and batch["x"].dtype == np.float32
    squares, values = batch["y"]
    assert squares.tolist() == [0, 1, 4] and squares.dtype == np.int64
    assert values.tolist() == [0.0, 1.0, 2.0] and values.dtype == np.float32
    assert batch["name"] == ["n0", "n1", "n2"]
    assert list(DataLoader(["a", "b", "c"], 2)) == [["a", "b"], ["c"]]
    assert list(DataLoader(range(3), 2, collate_fn=sum)) == [1, 2]


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [np.zeros(2), np.zeros(3)],
        [(1, 2), (1,)],
        [{"a": 1}, {"b": 1}],
        [mg.tensor([1.0]), mg.tensor([1.0, 2.0])],
    ],
)
def test_collating_refuses_samples_that_differ(samples):
    with pytest.raises(ValueError, match=r"default_collate|stack"):
        data.default_collate(samples)


def test_loader_refuses_bad_arguments():
    with pytest.raises(ValueError, match="DataLoader: batch_size must be at least 1, got 0"):
        DataLoader(numbers(3), 0)
    with pytest.raises(TypeError, match=r"DataLoader: batch_size must be an integer, got 2\.5"):
        DataLoader(numbers(3), 2.5)
    with pytest.raises(TypeError, match="DataLoader: the dataset must have a length"):
        DataLoader(iter([1, 2]))
    with pytest.raises(ValueError, match="not both"):
        DataLoader(numbers(3), seed=1, generator=mg.random.Generator(1))


# The IDX format


def idx(array, code, shape=None):
    shape = array.shape if shape is None else shape
    head = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


CODES = {0x08: np.uint8, 0x09: np.int8, 0x0B: np.int16, 0x0C: np.int32, 0x0D: "f4", 0x0E: "f8"}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_reads_every_type(tmp_path, code, pack):
    rng = np.random.default_rng(code)
    array = (rng.normal(size=(3, 4, 2)) * 50).astype(CODES[code])
    path = tmp_path / "x"
    path.write_bytes(pack(idx(array, code)))
    found = read_idx(path)
    assert found.dtype == array.dtype and found.dtype.isnative and found.flags.writeable
    np.testing.assert_array_equal(found, array)


def refuses(tmp_path_factory, content, match):
    path = Path(tmp_path_factory.getbasetemp()) / "bad-idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        read_idx(path)
    assert "bad-idx" in str(caught.value)


IMAGES = idx(np.arange(12, dtype=np.uint8).reshape(2, 3, 2), 0x08)


@given(cut=st.integers(0, len(IMAGES) - 1))
def test_idx_refuses_a_file_truncated_at_any_byte(tmp_path_factory, cut):
    refuses(tmp_path_factory, IMAGES[:cut], "read_idx: ")


PACKED = gzip.compress(IMAGES, mtime=0)


@given(cut=st.integers(0, len(PACKED) - 1))
def test_idx_refuses_a_gzip_file_truncated_at_any_byte(tmp_path_factory, cut):
    refuses(tmp_path_factory, PACKED[:cut], "read_idx: ")


@given(at=st.integers(0, len(PACKED) - 1), bit=st.integers(0, 7))
def test_idx_refuses_or_reads_the_same_from_a_damaged_gzip_file(tmp_path_factory, at, bit):
    damaged = bytearray(PACKED)
    damaged[at] ^= 1 << bit
    path = Path(tmp_path_factory.getbasetemp()) / "damaged-idx"
    path.write_bytes(damaged)
    try:
        found = read_idx(path)
    except ValueError as error:
        assert "damaged-idx" in str(error)
    else:  # bits of the time stamp, the flags or the operating system's name do no harm
        assert found.tobytes() == IMAGES[-12:]


def test_idx_refuses_bytes_after_the_end(tmp_path_factory):
    refuses(tmp_path_factory, IMAGES + b"\0", "takes 12 bytes, the file has more")
    refuses(tmp_path_factory, gzip.compress(IMAGES + b"\0"), "takes 12 bytes, the file has more")
    refuses(tmp_path_factory, PACKED + b"more", "damaged gzip file")


@pytest.mark.parametrize("start", [b"\0\0\x07\1", b"\1\0\x08\1", b"\0\0\x08\0", b"PNG\0"])
def test_idx_refuses_a_wrong_start(tmp_path_factory, start):
    refuses(tmp_path_factory, start + IMAGES[4:], f"starts with bytes {start.hex(' ')}")


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (2**31, 2**20), (13,)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_with_a_lying_shape_is_refused_and_allocates_nothing(tmp_path_factory, shape, pack):
    import tracemalloc

    tracemalloc.start()
    try:
        content = pack(idx(np.zeros(12, np.uint8), 0x08, shape))
        refuses(tmp_path_factory, content, r"the file has only 12")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20  # a few blocks of 1 MiB


def test_idx_with_an_impossible_empty_shape_is_refused(tmp_path_factory):
    nothing = idx(np.zeros(0, np.uint8), 0x08, (0, 2**32 - 1, 2**32 - 1))
    refuses(tmp_path_factory, nothing, "no array can have its shape")


def test_idx_checks_the_checksum_of_what_is_inside(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(IMAGES))
    right = hashlib.sha256(IMAGES).hexdigest()
    assert read_idx(path, sha256=right).shape == (2, 3, 2)
    with pytest.raises(ValueError, match=f"have SHA-256 {right}, wanted 00"):
        read_idx(path, sha256="00")


# Image collections


def check_images(found, n_train, n_test, size):
    assert found.train_images.shape == (n_train, 1, size, size)
    assert found.test_images.shape == (n_test, 1, size, size)
    assert len(found.classes) == 10
    for x, y in (
        (found.train_images, found.train_labels),
        (found.test_images, found.test_labels),
    ):
        assert x.dtype == np.float32 and y.dtype == np.int64
        assert x.data.min() == 0 and x.data.max() == 1
        assert set(y.tolist()) == set(range(10)) and len(x) == len(y)


def test_digits_are_divided_evenly():
    digits = data.load("digits")
    check_images(digits, 1442, 355, 8)
    assert len(digits.train) == 1442 and len(digits.test) == 355
    from sklearn.datasets import load_digits

    whole = np.concatenate([digits.train_images.data, digits.test_images.data])
    assert whole.sum(dtype=np.float64) * 16 == load_digits().images.sum()
    share = np.bincount(digits.test_labels.data) / np.bincount(load_digits().target)
    assert (abs(share - 0.2) < 0.01).all()
    again = data.load("digits")
    assert (again.test_images == digits.test_images).all()
    assert repr(digits) == (
        "Images('digits', train (1442, 1, 8, 8), test (355, 1, 8, 8), 10 classes)"
    )


def test_an_unknown_collection_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"no collection 'cats'.*'digits', 'mnist', 'fashion-"):
        data.load("cats")


def test_missing_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no .*mnist.train-images-.*MINIGRAD_DATA"):
        data.load("mnist")
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        data.load("fashion-mnist", root=tmp_path / "elsewhere")


def test_a_collection_is_read_from_a_folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (6, 28, 28)), rng.integers(0, 10, 6)
    contents = [idx(pixels[:4].astype("u1"), 8), idx(labels[:4].astype("u1"), 8)]
    contents += [idx(pixels[4:].astype("u1"), 8), idx(labels[4:].astype("u1"), 8)]
    published = images._IDX["mnist"]
    files = []
    (tmp_path / "mnist").mkdir()
    for i, (file, content) in enumerate(zip(published.files, contents, strict=True)):
        files.append(replace(file, sha256=hashlib.sha256(content).hexdigest()))
        name, packed = file.name, gzip.compress(content)
        if i % 2:  # uncompressed files do as well
            name, packed = name.removesuffix(".gz"), content
        (tmp_path / "mnist" / name).write_bytes(packed)
    monkeypatch.setitem(images._IDX, "mnist", replace(published, files=tuple(files)))
    found = data.load("mnist", root=tmp_path)
    np.testing.assert_allclose(found.train_images.data[:, 0], pixels[:4] / 255, rtol=1e-6)
    assert found.train_images.dtype == np.float32 and found.test_images.shape == (2, 1, 28, 28)
    assert found.train_labels.tolist() == labels[:4].tolist()
    assert found.test_labels.tolist() == labels[4:].tolist()


def test_files_that_are_not_the_published_ones_are_refused(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for kind in ("images-idx3", "labels-idx1"):
        for part in ("train", "t10k"):
            (folder / f"{part}-{kind}-ubyte").write_bytes(IMAGES)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte: .*not the published file"):
        data.load("mnist", root=tmp_path)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="scikit-learn"):
        data.load("digits")
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pooch.*MINIGRAD_DATA"):
        data.load("mnist")


def test_files_are_fetched_by_checksum_and_a_failure_says_what_to_do(monkeypatch):
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash, fname, Path(path).name))
        raise ConnectionError("no network")

    pooch = types.SimpleNamespace(os_cache=Path, retrieve=retrieve)
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    with pytest.raises(FileNotFoundError, match=r"could not be fetched.*no network.*MINIGRAD_DATA"):
        data.load("mnist")
    ((url, known_hash, name, folder),) = asked
    assert url.startswith("https://") and url.endswith("/mnist/" + name)
    assert known_hash == "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873" and folder == "mnist"


FOLDER = Path(os.environ.get("MINIGRAD_DATA") or "nowhere")
PRESENT = [name for name in ("mnist", "fashion-mnist") if (FOLDER / name).is_dir()]


@pytest.mark.parametrize("name", PRESENT)
def test_collections_in_the_data_folder(name):
    found = data.load(name)
    check_images(found, 60000, 10000, 28)
    assert np.bincount(found.test_labels.data).min() > 800
    mean = {"mnist": 0.1307, "fashion-mnist": 0.2860}[name]  # published figures
    assert abs(found.train_images.data.mean(dtype=np.float64) - mean) < 1e-4
