"""Random numbers: known answers, reproducibility, distributions, bad input; and dropout."""

import copy
import pickle
import threading

import numpy as np
import pytest

import minigrad as mg
import minigrad_kernels as kernels
from minigrad import ops
from minigrad.random import Generator
from minigrad_kernels.random import blocks_taken, philox

# Published with the algorithm (Random123, tests/kat_vectors): counter, key, result.
KNOWN = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def philox_by_hand(counter, key):
    """The algorithm with Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def words_by_hand(seed, offset, count):
    words = []
    for block in range(-(-count // 4)):
        index = (offset + block) % 2**64
        words += philox_by_hand([index % 2**32, index >> 32, 0, 0], [seed % 2**32, seed >> 32])
    return words[:count]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_words(counter, key, result):
    words = philox(tuple(np.array([c], np.uint64) for c in counter), tuple(key))
    assert [int(w[0]) for w in words] == result
    assert philox_by_hand(counter, key) == result


@pytest.mark.parametrize("offset", [0, 2**32 - 2, 2**64 - 2])
def test_bits_are_the_words_of_consecutive_blocks(offset):
    seed = 0x0123456789ABCDEF
    words = words_by_hand(seed, offset, 18)
    bits = kernels.random_bits(np.zeros(18, np.uint32), seed=seed, offset=offset)
    assert bits.tolist() == words
    wide = kernels.random_bits(np.zeros((3, 3), np.uint64), seed=seed, offset=offset)
    assert wide.ravel().tolist() == [
        a + (b << 32) for a, b in zip(words[::2], words[1::2], strict=True)
    ]


def test_uniform_numbers_are_the_highest_bits():
    words = words_by_hand(9, 4, 10)
    u = kernels.random_uniform(np.zeros(10, np.float32), seed=9, offset=4)
    assert u.tolist() == [(w >> 8) / 2**24 for w in words]
    u = kernels.random_uniform(np.zeros(5, np.float64), seed=9, offset=4)
    pairs = zip(words[::2], words[1::2], strict=True)
    assert u.tolist() == [((a + (b << 32)) >> 11) / 2**53 for a, b in pairs]
    u = kernels.random_uniform(np.zeros(10, np.float16), seed=9, offset=4)
    assert u.tolist() == [(w >> 21) / 2**11 for w in words]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_numbers_follow_box_and_muller(dtype):
    u = kernels.random_uniform(np.zeros(101, dtype), seed=3, offset=8).astype(np.float64)
    u = np.append(u, kernels.random_uniform(np.zeros(102, dtype), seed=3, offset=8)[-1:])
    r, angle = np.sqrt(-2 * np.log(1 - u[::2])), 2 * np.pi * u[1::2]
    wanted = np.stack([r * np.cos(angle), r * np.sin(angle)], 1).ravel()[:101]
    z = kernels.random_normal(np.zeros(101, dtype), seed=3, offset=8)
    assert z.dtype == dtype
    # The angle, up to 2 pi, is rounded to 2 pi eps / 2; the radius, below 6, scales that.
    np.testing.assert_allclose(z, wanted, rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kernel", [kernels.random_uniform, kernels.random_normal])
def test_an_element_depends_only_on_its_number(kernel):
    whole = kernel(np.zeros(100_003, np.float32), seed=5, offset=10)
    part = kernel(np.zeros(1000, np.float32), seed=5, offset=10 + 80_000 // 4)
    assert (part == whole[80_000:81_000]).all()
    strided = np.zeros((100_003, 2), np.float32)[:, 0]
    assert kernel(strided, seed=5, offset=10, out=strided) is strided
    assert (strided == whole).all()


# Distributions. The seeds are fixed, so the outcomes are; bounds are 4 standard errors.


def test_moments_and_independence_of_uniform_numbers():
    n = 200_000
    u = mg.rand(n, dtype=np.float64, generator=Generator(1)).numpy()
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / n)
    assert abs(u.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / n)
    counts = np.bincount((u * 64).astype(int), minlength=64)
    assert abs(((counts - n / 64) ** 2 / (n / 64)).sum() - 63) < 4 * np.sqrt(2 * 63)
    for lag in (1, 2, 3, 4):
        assert abs(np.corrcoef(u[:-lag], u[lag:])[0, 1]) < 4 / np.sqrt(n)
    other = mg.rand(n, dtype=u.dtype, generator=Generator(2)).numpy()
    assert abs(np.corrcoef(u, other)[0, 1]) < 4 / np.sqrt(n)


def test_moments_of_normal_numbers():
    n = 200_000
    z = mg.randn(n, generator=Generator(3)).numpy().astype(np.float64)
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15)):
        x = z**power
        assert abs(x.mean() - moment) < 4 * x.std() / np.sqrt(n)
    assert abs((np.abs(z) < 1.96).mean() - 0.95) < 4 * np.sqrt(0.05 * 0.95 / n)
    assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 4 / np.sqrt(n / 2)


def test_normal_takes_mean_and_deviation():
    z = mg.normal(3.0, 0.5, (50_000,), generator=Generator(4)).numpy()
    assert abs(z.mean() - 3) < 4 * 0.5 / np.sqrt(z.size) and abs(z.std() - 0.5) < 0.01
    z = mg.normal(mg.tensor([[0.0], [100.0]]), mg.tensor([1.0, 0.0, 2.0]), generator=Generator(4))
    assert z.shape == (2, 3) and z.numpy()[:, 1].tolist() == [0.0, 100.0]


def test_randint_is_uniform_over_its_range():
    n = 60_000
    x = mg.randint(-2, 4, (n,), generator=Generator(5))
    assert x.dtype == np.int64
    counts = np.bincount(x.numpy() + 2, minlength=6)
    assert counts.size == 6 and ((counts - n / 6) ** 2 / (n / 6)).sum() < 5 + 4 * np.sqrt(10)
    assert mg.randint(3, (4,)).shape == mg.randint(3, size=4).shape == (4,)
    assert mg.randint(0, 256, (5,), dtype=np.uint8).dtype == np.uint8
    whole = mg.randint(-(2**63), 2**63, (1000,), generator=Generator(5)).numpy()
    assert whole.min() < -(2**62) and whole.max() > 2**62


def test_randperm_is_a_permutation_and_none_is_favoured():
    g = Generator(6)
    assert sorted(mg.randperm(1000, generator=g).tolist()) == list(range(1000))
    assert mg.randperm(0).shape == (0,)
    found = [tuple(mg.randperm(3, generator=g).tolist()) for _ in range(1200)]
    counts = [found.count(p) for p in set(found)]
    assert len(counts) == 6 and max(abs(c - 200) for c in counts) < 4 * np.sqrt(200 * 5 / 6)


def test_bernoulli_takes_its_probabilities():
    p = mg.tensor(np.repeat([0.0, 0.3, 1.0], 20_000).astype(np.float32))
    x = mg.bernoulli(p, generator=Generator(7)).numpy().reshape(3, -1)
    assert x.dtype == np.float32 and set(np.unique(x)) == {0, 1}
    assert x[0].sum() == 0 and x[2].all()
    assert abs(x[1].mean() - 0.3) < 4 * np.sqrt(0.21 / 20_000)
    assert isinstance(mg.bernoulli(mg.tensor(1.0)).data, np.ndarray)


# Generators


def test_the_same_seed_gives_the_same_numbers():
    def draw():
        return [*mg.rand(3).tolist(), *mg.randn(2).tolist(), *mg.randperm(4).tolist()]

    mg.manual_seed(11)
    assert mg.initial_seed() == 11
    first, second = draw(), draw()
    state = mg.get_rng_state()
    third = draw()
    mg.manual_seed(11)
    assert draw() == first and first != second
    mg.set_rng_state(state)
    assert draw() == third
    assert mg.seed() == mg.initial_seed() != 11


def test_no_word_is_used_twice():
    g = Generator(12)
    values = [mg.rand(n, dtype=np.float32, generator=g).numpy() for n in (1, 5, 8, 3)]
    assert g.get_state() == (12, 1 + 2 + 2 + 1)
    stream = kernels.random_uniform(np.zeros(24, np.float32), seed=12, offset=0)
    starts = (0, 4, 12, 20)
    for x, start in zip(values, starts, strict=True):
        assert (x == stream[start : start + x.size]).all()
    assert [blocks_taken(n, 8) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]


def test_threads_never_get_the_same_stretch():
    g = Generator(13)
    taken = []

    def take():
        taken.extend(g.take(3) for _ in range(500))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(offset for _, offset in taken) == list(range(0, 6000, 3))


def test_generators_can_be_copied_and_pickled():
    g = Generator(14)
    mg.rand(5, generator=g)
    for other in (copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert other.get_state() == g.get_state() and other is not g


def test_results_have_the_wanted_form():
    x = mg.rand((2, 3), dtype=np.float64, requires_grad=True)
    assert x.shape == (2, 3) and x.dtype == np.float64 and x.requires_grad and x.is_leaf
    assert mg.randn().shape == () and mg.rand(0, 4).shape == (0, 4)
    y = mg.randn_like(x)
    assert y.shape == x.shape and y.dtype == x.dtype and not y.requires_grad
    assert mg.rand_like(x, dtype=np.float16).dtype == np.float16


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, "rand: size must be an integer, got True", lambda: mg.rand(True)),
        (TypeError, "rand: size must be an integer, got 2.5", lambda: mg.rand(2.5)),
        (ValueError, r"randn: size must be at least 0, got \(2, -1\)", lambda: mg.randn(2, -1)),
        (TypeError, "floating-point dtype, got int64", lambda: mg.rand(2, dtype=np.int64)),
        (TypeError, "wants a Generator, got int", lambda: mg.rand(2, generator=3)),
        (TypeError, "manual_seed: seed must be an integer", lambda: mg.manual_seed(1.5)),
        (ValueError, "64 bits", lambda: mg.manual_seed(2**64)),
        (ValueError, "pair", lambda: mg.set_rng_state(5)),
        (ValueError, "two integers", lambda: mg.set_rng_state((1, -1))),
        (ValueError, "no integers in", lambda: mg.randint(3, 3, (2,))),
        (ValueError, "does not hold", lambda: mg.randint(0, 300, (2,), dtype=np.uint8)),
        (ValueError, "wider than int64", lambda: mg.randint(0, 2**64, (2,), dtype=np.uint64)),
        (TypeError, "size is missing", lambda: mg.randint(3)),
        (TypeError, "randint: low", lambda: mg.randint(0.5, 3, (2,))),
        (ValueError, "randperm: n must be at least 0, got -1", lambda: mg.randperm(-1)),
        (ValueError, r"\[0, 1\]", lambda: mg.bernoulli(mg.tensor([0.5, 1.5]))),
        (ValueError, r"\[0, 1\]", lambda: mg.bernoulli(mg.tensor([np.nan]))),
        (TypeError, "floating-point dtype, got int64", lambda: mg.bernoulli(mg.tensor([1]))),
        (ValueError, "std", lambda: mg.normal(0.0, -1.0, (2,))),
        (ValueError, "do not broadcast", lambda: mg.normal(mg.zeros(2), mg.ones(3))),
        (TypeError, "uint32 or uint64", lambda: kernels.random_bits(np.zeros(2), seed=0, offset=0)),
        (
            TypeError,
            "float16, float32 or float64",
            lambda: kernels.random_uniform(np.zeros(2, int), seed=0, offset=0),
        ),
    ],
)
def test_bad_input_is_refused_and_uses_nothing_up(error, words, call):
    before = mg.get_rng_state()
    with pytest.raises(error, match=words):
        call()
    assert mg.get_rng_state() == before


# Dropout (its gradients, and that it refuses bad input, are tested with all operations)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_keeps_what_the_stream_says(dtype):
    words = np.array(words_by_hand(21, 3, 15), np.float64).reshape(3, 5)
    x = np.arange(1, 16, dtype=dtype).reshape(3, 5)
    y = ops.seeded_dropout(x, 0.3, 21, 3).numpy()
    np.testing.assert_allclose(y, np.where(words >= 0.3 * 2**32, x / 0.7, 0), rtol=1e-6)
    assert y.dtype == dtype


def test_dropout_drops_its_share_and_keeps_the_mean():
    n = 100_000
    y = ops.dropout(mg.ones(n), 0.2, generator=Generator(22)).numpy()
    assert abs((y == 0).mean() - 0.2) < 4 * np.sqrt(0.16 / n)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.8)}


def test_dropout_draws_anew_each_time_but_its_gradient_does_not():
    g = Generator(23)
    x = mg.ones(1000, requires_grad=True)
    y, z = ops.dropout(x, generator=g), ops.dropout(x, generator=g)
    assert (y.detach().numpy() != z.detach().numpy()).any()
    y.backward(mg.ones(1000))
    assert (x.grad.numpy() == y.detach().numpy()).all()


def test_dropout_at_the_ends_of_its_range():
    x = mg.tensor([1.0, np.inf, np.nan])
    assert ops.dropout(x, 1.0).tolist() == [0, 0, 0]
    assert ops.dropout(x, 0.0).tolist()[:2] == [1, np.inf]
    assert ops.dropout(x, 0.5, training=False) is x
