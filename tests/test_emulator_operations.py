"""What the emulator has of CUDA: right results, held against NumPy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.special

from minigrad_kernels import BACKENDS
from minigrad_kernels.cuda import Source, running
from minigrad_kernels.cuda.emulator import build

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=f"{BACKENDS['cuda-on-cpu'].reason}"
)

HERE = Path(__file__).parent / "cuda"
OPERATIONS = Source(HERE / "operations.cu")
GROUPS = Source(HERE / "groups.cu")
TENSOR_CORES = Source(HERE / "tensor_cores.cu")

LANES = np.arange(32)


def test_shuffles() -> None:
    x = (np.arange(32) * 7 + 1).astype("i4")
    for width in (32, 16, 8, 4):
        y = np.zeros((4, 32), "i4")
        OPERATIONS.kernel("shuffles")(1, 32, x, y, width)
        group = LANES - LANES % width
        sources = [
            group + 3 % width,
            np.where(group > LANES - 2, LANES, LANES - 2),
            np.where(group + width <= LANES + 2, LANES, LANES + 2),
            np.where(group + width <= (LANES ^ 5), LANES, LANES ^ 5),
        ]
        np.testing.assert_array_equal(y, [x[s] for s in sources])


def test_shuffles_of_values_of_1_2_and_8_bytes(rng: np.random.Generator) -> None:
    a = rng.integers(256, size=32).astype("u1")
    b, c = rng.normal(size=32).astype("f2"), rng.normal(size=32)
    y = np.zeros(32)
    OPERATIONS.kernel("shuffles_of_sizes")(1, 32, a, b, c, y)
    wanted = a[LANES ^ 1].astype("f4") + b[LANES ^ 2].astype("f4") + c[LANES ^ 4]
    np.testing.assert_allclose(y, wanted, rtol=1e-15)


def test_two_parts_of_a_warp_on_their_own_ways() -> None:
    x = LANES.astype("i4")
    OPERATIONS.kernel("shuffles_of_half_warps")(1, 32, x)
    sums = (LANES + (LANES ^ 1)) * 4
    np.testing.assert_array_equal(x, np.where(LANES < 16, sums, LANES ^ 8))


def test_votes(rng: np.random.Generator) -> None:
    for most in (10, 9, 3):
        x = rng.integers(most, size=32).astype("i4")
        y = np.zeros((4, 32), "u4")
        OPERATIONS.kernel("votes")(1, 32, x, y)

        def bits(which: np.ndarray) -> int:
            return sum(1 << int(i) for i in np.flatnonzero(which))

        assert set(y[0].tolist()) == {bits(x > 3)}
        assert set(y[1].tolist()) == {int((x == 9).any()) + 2}
        assert y[2].tolist() == [bits(x == v) for v in x]
        assert set(y[3].tolist()) == {0xFFFFFFFF}


def test_votes_of_parts_of_a_warp() -> None:
    x, y = LANES.astype("i4"), np.zeros(32, "i4")
    for order in ("forward", "reverse", "random"):
        with running(order, seed=2):
            OPERATIONS.kernel("votes_of_eighths")(1, 32, x, y)
        assert y.tolist() == [9 * 10000 + 0b1010 * 100 + 11] * 32


def test_barriers_that_count() -> None:
    x = np.arange(40).astype("i4")
    y = np.zeros((2, 40), "i4")
    OPERATIONS.kernel("barriers")(1, 40, x, y)
    assert set(y[0].tolist()) == {36} and set(y[1].tolist()) == {0 + 2}


def test_atomics() -> None:
    n = 128
    ints = np.array([0, 0, 0, 1000], "i4")
    unsigneds = np.array([0, 0, 0xFFFFFFFF, 0, 0, 0, 0], "u4")
    longs, floats, doubles = np.zeros(1, "u8"), np.zeros(1, "f4"), np.zeros(1)
    OPERATIONS.kernel("atomics")(4, n // 4, ints, unsigneds, longs, floats, doubles)
    assert ints.tolist() == [n * (n - 1) // 2, n - 1, 1 - n, 1000 - n]
    parity = np.bitwise_xor.reduce(np.arange(n))
    assert unsigneds.tolist() == [n, 0xFFFFFFFF, 0, parity, n % 10, 77, 5]
    assert (longs[0], floats[0], doubles[0]) == (n << 33, n / 2, n / 4)


def test_a_lock_that_threads_wait_for() -> None:
    for order in ("forward", "reverse", "random"):
        count = np.zeros(1, "i4")
        with running(order):
            OPERATIONS.kernel("spin_lock")(3, 50, np.zeros(1, "u4"), count)
        assert count[0] == 150


def test_bits_of_numbers() -> None:
    x = np.array([1.5, 2.5], "f4")
    n = np.array([0x3F123456, 0xDEADBEEF], "u4")
    y = np.zeros(11, "u4")
    OPERATIONS.kernel("bits")(1, 1, x, n, y)
    a, b = int(n[0]), int(n[1])
    product = ((1 << 40) + a) * ((1 << 40) + b) >> 64
    assert y.tolist() == [
        0x3FC00000,
        a,
        a * b >> 32,
        a.bit_count(),
        32 - a.bit_length(),
        (a & -a).bit_length(),
        int(f"{a:032b}"[::-1], 2),
        0xBEEF3456,
        (b << 8 | a >> 24) & 0xFFFFFFFF,
        product & 0xFFFFFFFF,
        2,
    ]


def test_functions(rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 3, size=50).astype("f4")
    y = np.zeros((10, 50), "f4")
    OPERATIONS.kernel("functions")(1, 64, x, y, 50)
    v = x.astype("f8")
    wanted = [np.exp(v), np.exp(v), np.log(v), v**-0.5, np.tanh(v), scipy.special.erf(v)]
    wanted += [v * v + 1, np.maximum(v, 1.5), 1 / v, v]
    # 4 units in the last place of numbers up to 20: log is of numbers near 1, where it is small.
    np.testing.assert_allclose(y, wanted, rtol=5e-7, atol=1e-7)


@pytest.mark.parametrize("portable", ["", "1"])
def test_every_half(monkeypatch: pytest.MonkeyPatch, portable: str) -> None:
    """All 65,536 of them, and how numbers between them are rounded."""
    monkeypatch.setenv(build.PORTABLE, portable)
    source = Source(OPERATIONS.path)
    every = np.arange(65536, dtype="u2")
    every[np.isnan(every.view("f2"))] = 0x7E00  # some would count as unwritten shared memory
    finite = every.view("f2")[np.isfinite(every.view("f2"))].astype("f4")
    between = (finite[:-1] + finite[1:]) / 2  # ties, which go to the even one
    x = np.concatenate([between, np.nextafter(between, 0), np.array([7e4, np.inf, 1e-9], "f4")])
    x = np.resize(x, 65536)
    wide, narrow = np.zeros(65536, "f4"), np.zeros(65536, "f2")
    source.kernel("halves")(256, 256, every, x, wide, narrow, 65536)
    np.testing.assert_array_equal(wide, every.view("f2").astype("f4"))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(narrow.view("u2"), x.astype("f2").view("u2"))


def brains(x: np.ndarray) -> np.ndarray:
    """The bits of float32 numbers rounded to bfloat16, ties to the even one."""
    bits = x.astype("f4").view("u4").astype("u8")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("u2")


def widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype("u4") << 16).view("f4")


def test_bfloat16(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.normal(size=60), [0, np.inf, -1e-30, 1 + 2**-8]]).astype("f4")
    narrow, wide = np.zeros(64, "u2"), np.zeros(64, "f4")
    OPERATIONS.kernel("brains")(1, 64, x, narrow, wide, 64)
    assert brains(np.array([1 + 2**-8, 1 + 3 * 2**-8], "f4")).tolist() == [0x3F80, 0x3F82]
    np.testing.assert_array_equal(narrow, brains(x))
    rounded = widened(brains(x))
    np.testing.assert_array_equal(wide, widened(brains(rounded * rounded)))


def test_arithmetic_of_halves(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 64)).astype("f2")
    y = np.zeros((6, 64), "f2")
    OPERATIONS.kernel("arithmetic_of_halves")(1, 64, a, b, y, 64)
    one = np.float16(1)
    wanted = [a + b, a * b, a / b, np.maximum(a, b), a + one, np.where(a < b, b + one, 0)]
    np.testing.assert_array_equal(y, np.array(wanted, "f2"))


def test_vectors_dynamic_shared_memory_constants_and_indices(rng: np.random.Generator) -> None:
    x = rng.normal(size=(24, 4)).astype("f4")
    y = np.zeros((24, 2, 2), "f4")
    OPERATIONS.kernel("vectors")((1, 1, 3), (2, 4, 3), x, y, shared=24 * 16)
    np.testing.assert_array_equal(y[:, 0], x[:, :2])
    np.testing.assert_array_equal(y[:, 1, 0], 2 ** (np.arange(24) // 2 % 4))
    np.testing.assert_array_equal(y[:, 1, 1], 302)


def test_reductions(rng: np.random.Generator) -> None:
    for threads in (32, 96, 1024):
        x = rng.normal(size=threads).astype("f4")
        y = np.zeros((3, threads))
        OPERATIONS.kernel("reductions")(1, threads, x, y)
        np.testing.assert_allclose(y[0], x.sum(dtype="f8"), rtol=1e-12)
        np.testing.assert_array_equal(y[1], x.max())
        by_warp = np.repeat(x.reshape(-1, 32).sum(1, dtype="f8"), 32)
        np.testing.assert_allclose(y[2], by_warp, atol=1e-5)
        assert len(set(y[0].tolist())) == 1, "not the same bits in all threads"


def test_shared_memory_in_a_template() -> None:
    x = np.arange(64).astype("i4")
    OPERATIONS.kernel("templates")(1, 64, x)
    np.testing.assert_array_equal(x, np.arange(64)[::-1])


# Tensor cores


def test_products_of_halves(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(16, 16)).astype("f2"), rng.normal(size=(16, 8)).astype("f2")
    d = np.zeros((16, 8), "f4")
    TENSOR_CORES.kernel("product_f16")(1, 32, a, np.ascontiguousarray(b.T), d)
    np.testing.assert_allclose(d, a.astype("f8") @ b.astype("f8"), atol=1e-5)


def test_products_of_bfloat16(rng: np.random.Generator) -> None:
    a, b = brains(rng.normal(size=(16, 16))), brains(rng.normal(size=(16, 8)))
    d = np.zeros((16, 8), "f4")
    TENSOR_CORES.kernel("product_bf16")(1, 32, a, b, d)
    np.testing.assert_allclose(d, widened(a).astype("f8") @ widened(b).astype("f8"), atol=1e-5)


def tf32(x: np.ndarray, add: int) -> np.ndarray:
    bits = x.astype("f4").view("u4") + np.uint32(add)
    return (bits & np.uint32(0xFFFFE000)).view("f4").astype("f8")


def test_products_of_tf32(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(16, 8)).astype("f4"), rng.normal(size=(8, 8)).astype("f4")
    for rounds, add in ((True, 0x1000), (False, 0)):
        d = np.zeros((16, 8), "f4")
        TENSOR_CORES.kernel("product_tf32")(1, 32, a, b, d, rounds)
        np.testing.assert_allclose(d, tf32(a, add) @ tf32(b, add), atol=1e-5)
        assert np.abs(d - a @ b).max() > 1e-4, "computed in float32"


def test_matrices_come_to_the_lanes_as_the_manual_says(rng: np.random.Generator) -> None:
    x = rng.integers(65536, size=(4, 8, 8)).astype("u2")
    y = np.zeros((10, 32), "u4")
    TENSOR_CORES.kernel("matrices")(1, 32, x, y)
    for i in range(4):
        np.testing.assert_array_equal(y[i].view("u2").reshape(8, 8), x[i])
        np.testing.assert_array_equal(y[4 + i].view("u2").reshape(8, 8), x[i].T)
    np.testing.assert_array_equal(y[8], y[3])
    np.testing.assert_array_equal(y[9], y[7])


def test_a_pipeline_of_asynchronous_copies(rng: np.random.Generator) -> None:
    x = rng.integers(100, size=(9, 32)).astype("f4")
    y = np.zeros(32, "f4")
    TENSOR_CORES.kernel("pipeline")(1, 32, x, y, 9)
    np.testing.assert_array_equal(y, x.sum(0)[::-1])


def test_cooperative_groups() -> None:
    x, y, votes = np.arange(64, dtype="f4"), np.zeros(64, "f4"), np.zeros(64, "i4")
    GROUPS.kernel("groups")(1, 64, x, y, votes)
    np.testing.assert_array_equal(y, np.full(64, x.sum()))
    second_tiles = [x[8:16].sum(), x[40:48].sum()]  # of the two warps: there is lane 9
    np.testing.assert_array_equal(votes, 0xAA + 1000 * np.repeat(second_tiles, 32))
