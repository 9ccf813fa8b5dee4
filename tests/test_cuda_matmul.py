"""Matrix products in CUDA, on the emulator: what depends on tiles, stages, parts and layouts.

What every implementation is tested on stands elsewhere; its products are too small for large tiles.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigrad_kernels import BACKENDS, linear, matmul, use
from minigrad_kernels.cuda import matmul as plain, matmul_operands, matmul_tensor, running
from minigrad_kernels.cuda.launch import MOST_SHARED
from minigrad_kernels.cuda.matmul import DOUBLE, SINGLE, Plan, Tile, plan

pytestmark = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=str(BACKENDS["cuda-on-cpu"].reason)
)

Case = tuple[Tile, bool, bool, int]


def cases(tiles: tuple[Tile, ...]) -> Any:
    """Tiles, whether operands lie along the sum, and by how much sizes are odd.

    With the small tile in all combinations; with the others each operand in each of its layouts.
    """
    both = list(itertools.product((True, False), (True, False)))
    found: list[Case] = [(tiles[-1], *layout, 0) for layout in both]
    found += [(tile, *layout, 0) for tile in tiles[:-1] for layout in both[1:3]]
    found += [(tile, True, False, 3) for tile in tiles]
    return pytest.mark.parametrize(
        ("tile", "a_along", "b_along", "odd"),
        found,
        ids=lambda part: part.name if isinstance(part, Tile) else str(part),
    )


def laid_out(x: np.ndarray, rows_first: bool) -> np.ndarray:
    """The same matrix with its rows, or its columns, contiguous."""
    return np.ascontiguousarray(x) if rows_first else np.asfortranarray(x)


def product(
    rng: np.random.Generator,
    sizes: tuple[int, int, int],
    dtype: str,
    tile: Tile,
    *,
    splits: int = 1,
    a_along: bool = True,
    b_along: bool = False,
    number: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """A product with a bias and a ReLU by a given tile, and what it should be."""
    rows, columns, depth = sizes
    a = laid_out(rng.normal(size=(rows, depth)).astype(dtype), a_along)
    b = laid_out(rng.normal(size=(depth, columns)).astype(dtype), not b_along)
    bias = rng.normal(size=columns).astype(dtype)
    c = np.full((rows, columns), np.nan, dtype)
    part = -(-depth // splits // plain.PART) * plain.PART
    chosen = Plan(tile, splits, part)
    operands = matmul_operands.pair(a, b, ())
    if number:
        matmul_tensor.tensor_product(
            operands, sizes, c, number=number, bias=bias, relu=True, chosen=chosen
        )
    else:
        plain.plain_product(operands, sizes, c, bias=bias, relu=True, chosen=chosen)
    sums = a.astype("f8") @ b.astype("f8") + bias.astype("f8")
    return c, np.maximum(sums, 0)


def check(c: np.ndarray, wanted: np.ndarray, eps: float) -> None:
    """Equal but for the rounding of the inputs, of sums of some 100 terms, and of the result."""
    np.testing.assert_allclose(c, wanted, rtol=0, atol=8 * eps * np.abs(wanted).max())


# Tiles


@cases(SINGLE)
def test_tiles(rng: Any, tile: Tile, a_along: bool, b_along: bool, odd: int) -> None:
    """Two tiles each way, and one that is not full; wide loads and stores, and single ones."""
    sizes = tile.rows + 4 + odd, tile.columns + 8 + odd, 36 + odd
    c, wanted = product(rng, sizes, "f4", tile, a_along=a_along, b_along=b_along)
    check(c, wanted, 1.2e-7)


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("tile", DOUBLE, ids=lambda tile: tile.name)
def test_tiles_of_doubles(rng: Any, tile: Tile, odd: int) -> None:
    c, wanted = product(rng, (tile.rows + 2 + odd, tile.columns + odd, 18 + odd), "f8", tile)
    check(c, wanted, 2.3e-16)


@cases(matmul_tensor.TILES)
def test_tiles_of_halves(rng: Any, tile: Tile, a_along: bool, b_along: bool, odd: int) -> None:
    """As many tiles of the depth as there are stages, and one more that is not full."""
    sizes = tile.rows - 8 + odd, tile.columns + 8 + odd, 64 * tile.stages + 24 + odd
    c, wanted = product(rng, sizes, "f2", tile, a_along=a_along, b_along=b_along, number="half")
    check(c, wanted, 9.8e-4)


@cases(matmul_tensor.TILES)
def test_tiles_of_tf32(rng: Any, tile: Tile, a_along: bool, b_along: bool, odd: int) -> None:
    sizes = tile.rows - 4 + odd, tile.columns + 4 + odd, 32 * tile.stages + 12 + odd
    c, wanted = product(rng, sizes, "f4", tile, a_along=a_along, b_along=b_along, number="float")
    check(c, wanted, 2.0**-10)


@pytest.mark.parametrize("stages", [2, 3])
def test_fewer_stages(rng: Any, stages: int) -> None:
    """Where shared memory is small."""
    tile = matmul_tensor.TILES[-1]._replace(stages=stages)
    c, wanted = product(rng, (40, 72, 328), "f2", tile, number="half")
    check(c, wanted, 9.8e-4)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_sums_in_parts(rng: Any, dtype: str) -> None:
    """Three parts, the last one shorter: bias and ReLU only once, in what is added up."""
    number = "half" if dtype == "f2" else ""
    tile = matmul_tensor.TILES[-1] if number else SINGLE[-1]
    c, wanted = product(rng, (33, 21, 150), dtype, tile, splits=3, number=number)
    check(c, wanted, {"f4": 1.2e-7, "f8": 2.3e-16, "f2": 9.8e-4}[dtype])


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_any_order_of_threads(rng: Any, order: str) -> None:
    """The bits are the same in whatever order threads and blocks run."""
    a, b = (rng.normal(size=s).astype("f4") for s in ((40, 700), (700, 40)))
    assert plan(SINGLE, 40, 40, 700, 1).splits > 1
    found = []
    for name in ("cuda-on-cpu", "cuda-on-cpu:tf32", "cuda-on-cpu:5-tensor-cores"):
        with use(name):
            wanted = matmul(a, b)
            with running(order, seed=5):
                found.append((matmul(a, b), wanted))
    for c, wanted in found:
        np.testing.assert_array_equal(c, wanted)


# Rounding


def tf32(x: np.ndarray) -> np.ndarray:
    """To the nearest number with 10 bits behind the first, ties away from zero."""
    return ((x.view("u4") + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view("f4")


def bfloat16(x: np.ndarray) -> np.ndarray:
    """To the nearest number with 7 bits behind the first, ties to even."""
    bits = x.view("u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view("f4")


@pytest.mark.parametrize(("name", "rounded"), [("tf32", tf32), ("bfloat16", bfloat16)])
def test_operands_are_rounded_once_and_sums_are_exact(rng: Any, name: str, rounded: Any) -> None:
    """What comes out is the product of rounded numbers, added in float32."""
    a, b = (rng.normal(size=s).astype("f4") for s in ((37, 50), (50, 70)))
    wanted = rounded(a).astype("f8") @ rounded(b).astype("f8")
    with use(f"cuda-on-cpu:{name}"):
        check(matmul(a, b), wanted, 1.2e-7)
        check(linear(a, b.T, np.ones(70, "f4")), wanted + 1, 1.2e-7)


def test_products_of_bfloat16(rng: Any) -> None:
    """Of bits, and of the type that another package adds to NumPy, if it is installed."""
    views: list[Any] = ["u2"]
    if find_spec("ml_dtypes"):
        views.append(import_module("ml_dtypes").bfloat16)
    a, b = (bfloat16(rng.normal(size=s).astype("f4")) for s in ((3, 37, 50), (50, 70)))
    wanted = a.astype("f8") @ b.astype("f8")
    for view in views:
        x, y = ((n.view("u4") >> 16).astype("u2").view(view) for n in (a, b))
        c = matmul_tensor.matmul_of_bfloat16(x, y)
        assert c.dtype == np.float32
        check(c, wanted, 1.2e-7)
        out = np.empty_like(c)
        assert matmul_tensor.matmul_of_bfloat16(x, y, out=out) is out
        np.testing.assert_array_equal(out, c)
    with pytest.raises(TypeError, match="wants bfloat16 or its bits, not float32"):
        matmul_tensor.matmul_of_bfloat16(a, b)


def test_halves_are_added_in_float32() -> None:
    """2,048 ones, and as many small numbers that would vanish, were the sum a half."""
    a = np.concatenate([np.ones(2048), np.full(2048, 2.0**-10)]).astype("f2")[None]
    with use("cuda-on-cpu"):
        c = matmul(a, np.ones((a.size, 1), "f2"))
        a[0, 0] = 3e4
        assert np.isinf(matmul(a, np.full((a.size, 1), 4, "f2")))
    assert c.dtype == np.float16
    assert float(c[0, 0]) == 2048 + 2


# Operands


def test_heads_of_an_attention_are_not_copied(rng: Any) -> None:
    """Two distances describe a batch of which the inner matrices lie side by side."""
    x = rng.normal(size=(2, 9, 3, 8)).astype("f4")  # sequence, place, head, channel
    heads = x.transpose(0, 2, 1, 3)
    found = matmul_operands.pair(heads, heads.swapaxes(2, 3), (2, 3))
    assert np.shares_memory(found.a.memory, x) and np.shares_memory(found.b.memory, x)
    assert (found.outer, found.inner) == (2, 3)
    assert found.a[1:] == (True, 24, 8, 216, 8) and found.b[1:] == (True, 24, 8, 216, 8)
    with use("cuda-on-cpu"):
        check(matmul(heads, heads.swapaxes(2, 3)), heads @ heads.swapaxes(2, 3), 1.2e-7)


def test_a_batch_of_many_dimensions_is_one(rng: Any) -> None:
    a = rng.normal(size=(2, 3, 4, 5, 6)).astype("f4")
    b = rng.normal(size=(2, 3, 4, 6, 7)).astype("f4")
    found = matmul_operands.pair(a, b, (2, 3, 4))
    assert (found.outer, found.inner, found.a.inner, found.b.inner) == (1, 24, 30, 42)


def test_a_batch_that_two_distances_do_not_describe_is_copied(rng: Any) -> None:
    a = rng.normal(size=(2, 1, 4, 5, 6)).astype("f4")
    b = rng.normal(size=(1, 3, 1, 6, 7)).astype("f4")
    found = matmul_operands.pair(a, b, (2, 3, 4))
    assert found.inner == 24 and not np.shares_memory(found.a.memory, a)
    with use("cuda-on-cpu"):
        check(matmul(a, b), a @ b, 1.2e-7)


@pytest.mark.parametrize("change", ["start", "length", "leading"])
def test_what_is_not_aligned_is_loaded_number_by_number(rng: Any, change: str) -> None:
    room = rng.normal(size=8 * 16 + 1).astype("f4")
    start = -(room.ctypes.data // 4) % 4
    x = room[start : start + 64].reshape(4, 16)
    assert matmul_operands.pair(x, x.T, ()).a.aligned()
    if change == "start":
        x = room[start + 1 : start + 65].reshape(4, 16)
    elif change == "length":
        x = room[start : start + 60].reshape(4, 15)
    else:
        x = room[start : start + 60].reshape(15, 4).T
    found = matmul_operands.pair(x, x.T, ())
    assert found.a.aligned() == found.b.aligned() == (change == "leading")
    with use("cuda-on-cpu"):
        check(matmul(x, x.T), x @ x.T, 1.2e-7)


# Plans


@pytest.mark.parametrize("sizes", list(itertools.product((1, 33, 500, 4096), repeat=3)))
@pytest.mark.parametrize("batches", [1, 64])
def test_plans_cover_all_terms(sizes: tuple[int, int, int], batches: int) -> None:
    for tiles in (SINGLE, DOUBLE, matmul_tensor.TILES):
        found = plan(tiles, *sizes, batches)
        assert found.part % plain.PART == 0
        assert (found.splits - 1) * found.part < sizes[2] <= found.splits * found.part


@pytest.mark.parametrize(
    ("sizes", "tile", "splits"),
    [
        ((4096, 4096, 4096), "Large", 1),
        ((1024, 1024, 1024), "Large", 4),
        ((512, 512, 512), "Medium", 2),
        ((64, 10, 128), "Small", 1),
        ((128, 784, 65536), "Large", 37),
    ],
)
def test_small_products_have_small_tiles(
    sizes: tuple[int, int, int], tile: str, splits: int
) -> None:
    """Every multiprocessor gets a block where there is work for it."""
    found = plan(SINGLE, *sizes, 1)
    assert (found.tile.name, found.splits) == (tile, splits)


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize(
    ("kilobytes", "wanted"),
    [
        (64, {"Small": 3}),
        (99, {"Medium": 3, "Small": 4}),
        (163, {"Large": 3, "Medium": 3, "Small": 4}),
        (227, {"Large": 4, "Medium": 3, "Small": 4}),
    ],
)
def test_stages_fit_into_shared_memory(
    kilobytes: int, wanted: dict[str, int], itemsize: int
) -> None:
    found = matmul_tensor.fitting(kilobytes * 1024, itemsize)
    for tile in found:
        assert tile.stages * matmul_tensor.stage_bytes(tile, itemsize, 2) < kilobytes * 1024
    stages = {tile.name: tile.stages for tile in found}
    if kilobytes == 99:  # the gaps between lines of TF32 numbers, or two large stages of halves
        assert stages == ({"Large": 2, **wanted} if itemsize == 2 else {"Medium": 2, "Small": 4})
    else:
        assert stages == wanted
    assert MOST_SHARED == 227 * 1024


# The kernel in Python


SIMULATED = """
import numpy as np
from minigrad_kernels.cuda.matmul_numba import matmul
rng = np.random.default_rng(0)
a, b = rng.normal(size=(5, 19)).astype("f4"), rng.normal(size=(19, 17)).astype("f4")
np.testing.assert_allclose(matmul(a, b), a @ b, rtol=0, atol=1e-5)
out = np.zeros((17, 5), "f4").T
assert matmul(a, b, out=out) is out
np.testing.assert_allclose(out, a @ b, rtol=0, atol=1e-5)
assert matmul(a[:0], b).shape == (0, 17) and not matmul(a[:, :0], b[:0]).any()
"""


@pytest.mark.skipif(not BACKENDS["numba"].available, reason="Numba is not installed")
def test_numba_kernel_in_its_simulator() -> None:
    root = Path(__file__).parent.parent
    environment = {
        **os.environ,
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "kernels")]),
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", SIMULATED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
