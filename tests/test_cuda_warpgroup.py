"""Matrix products by warpgroups: the kernel, what its instructions do on the emulator, and what is
found where they are misused. What every implementation is tested on stands elsewhere.
"""

from __future__ import annotations

import functools
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minigrad import machine
from minigrad_kernels import BACKENDS, matmul, use
from minigrad_kernels.cuda import (
    CompileError,
    EmulatorError,
    LaunchError,
    Source,
    kernel,
    matmul_operands,
    matmul_warpgroup,
    nvidia,
    running,
)
from minigrad_kernels.cuda.capability import WARPGROUPS
from minigrad_kernels.cuda.check import check as sanitized
from minigrad_kernels.cuda.lint import facts, toolkit
from minigrad_kernels.cuda.matmul import PART, Plan, Tile, plan
from minigrad_kernels.cuda.matmul_warpgroup import TILES

on_emulator = pytest.mark.skipif(
    not BACKENDS["cuda-on-cpu"].available, reason=str(BACKENDS["cuda-on-cpu"].reason)
)

KERNELS = Path(__file__).parent / "cuda" / "warpgroup.cu"
EPS = {"half": 2.0**-10, "float": 2.0**-10, "bfloat16": 2.0**-7}


def rounded(x: np.ndarray, number: str) -> np.ndarray:
    """float32 as tensor cores get it, in float64."""
    bits = x.astype("f4").view("u4")
    if number == "half":
        return x.astype("f2").astype("f8")
    if number == "float":
        bits = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    else:
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return bits.view("f4").astype("f8")


def laid_out(x: np.ndarray, rows_first: bool) -> np.ndarray:
    """The same matrices with their rows, or their columns, contiguous."""
    return np.ascontiguousarray(x) if rows_first else np.ascontiguousarray(x.mT).mT


# The kernel


def product(
    rng: np.random.Generator,
    sizes: tuple[int, int, int],
    number: str,
    tile: Tile,
    *,
    a_along: bool = True,
    b_along: bool = False,
    splits: int = 1,
) -> None:
    """A product with a bias and a ReLU by a given tile, held to float64."""
    rows, columns, depth = sizes
    dtype = "f2" if number == "half" else "f4"
    a = laid_out(rng.normal(size=(rows, depth)).astype(dtype), a_along)
    b = laid_out(rng.normal(size=(depth, columns)).astype(dtype), not b_along)
    bias = rng.normal(size=columns).astype(dtype)
    c = np.full((rows, columns), np.nan, dtype)
    part = -(-depth // splits // PART) * PART
    matmul_warpgroup.warpgroup_product(
        matmul_operands.pair(a, b, ()),
        sizes,
        c,
        number=number,
        bias=bias,
        relu=True,
        chosen=Plan(tile, splits, part),
    )
    wanted = np.maximum(rounded(a, number) @ rounded(b, number) + bias.astype("f8"), 0)
    # Sums of some 100 terms in float32, and of halves the rounding of the result.
    eps = 2.0**-10 if number == "half" else 1.2e-7
    np.testing.assert_allclose(c, wanted, rtol=0, atol=8 * eps * wanted.max())


@on_emulator
@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.name)
@pytest.mark.parametrize(("a_along", "b_along"), list(itertools.product((True, False), repeat=2)))
@pytest.mark.parametrize("number", ["half", "float", "bfloat16"])
def test_layouts(rng: Any, tile: Tile, number: str, a_along: bool, b_along: bool) -> None:
    """Every tile in every layout, where nothing is odd: two tiles down, more terms than stages."""
    depth = 136 if tile.name == "Large" else 264
    product(rng, (136, 136, depth), number, tile, a_along=a_along, b_along=b_along)


@on_emulator
@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.name)
@pytest.mark.parametrize("number", ["half", "float", "bfloat16"])
def test_odd_sizes(rng: Any, tile: Tile, number: str) -> None:
    """Tiles that are not full, and numbers that 16 bytes at a time do not reach."""
    sizes = tile.rows + 3, tile.columns + 5, 101
    for a_along, b_along in ((True, False), (False, True)):
        product(rng, sizes, number, tile, a_along=a_along, b_along=b_along)


@on_emulator
@pytest.mark.parametrize("number", ["half", "float"])
def test_more_terms_than_stages_hold(rng: Any, number: str) -> None:
    """Every stage of the large tile is filled more than once."""
    product(rng, (9, 250, 700 if number == "half" else 350), number, TILES[0])


@on_emulator
@pytest.mark.parametrize("number", ["half", "float", "bfloat16"])
def test_sums_in_parts(rng: Any, number: str) -> None:
    """Three parts, the last one shorter: bias and ReLU only once, in what is added up."""
    product(rng, (33, 21, 150), number, TILES[1], splits=3)


@on_emulator
@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_batches(rng: Any, dtype: str) -> None:
    """Of two dimensions, one operand for several products, and heads that lie side by side."""
    x = rng.normal(size=(2, 16, 3, 24)).astype(dtype)
    heads = x.transpose(0, 2, 1, 3)
    one = rng.normal(size=(3, 24, 10)).astype(dtype)
    for a, b in ((heads, heads.mT), (heads, one), (heads[:, :1], one), (one.mT, heads.mT)):
        with use("cuda-on-cpu:6-warpgroups"):
            c = matmul(a, b)
        number = "half" if dtype == "f2" else "float"
        wanted = rounded(a, number) @ rounded(b, number)
        np.testing.assert_allclose(c, wanted, rtol=0, atol=2**-9 * np.abs(wanted).max())


@on_emulator
def test_products_of_bfloat16(rng: Any) -> None:
    """Of bits, aligned and odd."""
    for shapes in (((16, 24), (24, 8)), ((2, 13, 27), (27, 9))):
        x, y = (rng.normal(size=shape).astype("f4") for shape in shapes)
        a, b = ((n.view("u4") >> 16).astype("u2") for n in (x, y))
        c = matmul_warpgroup.matmul_of_bfloat16(a, b)
        wanted = rounded(widened(a), "bfloat16") @ rounded(widened(b), "bfloat16")
        assert c.dtype == np.float32
        np.testing.assert_allclose(c, wanted, rtol=0, atol=1e-5)
    with pytest.raises(TypeError, match="wants bfloat16 or its bits, not float32"):
        matmul_warpgroup.matmul_of_bfloat16(x, b)


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16 in float32."""
    return (bits.astype("u4") << 16).view("f4")


@on_emulator
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_any_order_of_threads(rng: Any, order: str) -> None:
    """The bits are the same in whatever order threads and blocks run."""
    a, b = (rng.normal(size=s).astype("f4") for s in ((40, 700), (700, 40)))
    for name in ("6-warpgroups", "6-warpgroups-bfloat16"):
        with use(f"cuda-on-cpu:{name}"):
            wanted = matmul(a, b)
            with running(order, 3):
                np.testing.assert_array_equal(matmul(a, b), wanted)


@on_emulator
def test_infinities_and_nan_stay_where_they_are(rng: Any) -> None:
    """Zeros beside the operands must not meet what lies there: 0 times infinity is NaN."""
    a, b = rng.normal(size=(20, 37)).astype("f4"), rng.normal(size=(37, 20)).astype("f4")
    a[3, 36], a[5, 0], b[0, 7] = np.inf, np.nan, -np.inf
    for dtype in ("f4", "f2"):
        x, y = a.astype(dtype), b.astype(dtype)
        with use("cuda-on-cpu:6-warpgroups"), np.errstate(invalid="ignore"):
            c, wanted = matmul(x, y), x.astype("f8") @ y.astype("f8")
        np.testing.assert_array_equal(np.isfinite(c), np.isfinite(wanted))
        np.testing.assert_array_equal(np.isnan(c), np.isnan(wanted))


def test_operands_of_halves_that_are_aligned_are_not_copied(rng: Any) -> None:
    a, b = (rng.normal(size=s).astype("f2") for s in ((16, 32), (32, 8)))
    both = matmul_operands.pair(a, b, ())
    assert matmul_warpgroup.ready(both.a, both, (16, 32), "half") is both.a
    assert matmul_warpgroup.ready(both.b, both, (8, 32), "half") is both.b


def test_plans_take_the_large_tile_for_large_products() -> None:
    assert plan(TILES, 4096, 4096, 4096, 1) == Plan(TILES[0], 1, 4096)
    assert plan(TILES, 33, 21, 150, 1).tile == TILES[1]
    for tile in TILES:
        assert matmul_warpgroup.shared_bytes(tile) <= 227 * 1024


# Where it runs


def on_device(capability: str) -> Any:
    """A part of an array of CuPy's."""
    return SimpleNamespace(device=SimpleNamespace(id=0, compute_capability=capability))


def test_only_gpus_of_one_capability_have_it(rng: Any) -> None:
    assert WARPGROUPS.lacking(np.zeros(3)) is WARPGROUPS.lacking(on_device("90")) is None
    for capability in ("80", "89", "100", "120"):
        c = on_device(capability)
        a = rng.normal(size=(8, 8)).astype("f4")
        words = f"compute capability 9.0.* here is {capability[:-1]}.{capability[-1]}"
        with pytest.raises(LaunchError, match=words):
            matmul_warpgroup.warpgroup_product(
                matmul_operands.pair(a, a, ()), (8, 8, 8), c, number="float"
            )


def test_what_a_gpu_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In `explain` and `minigrad info`, where the implementation has not been tested."""
    (i,) = (i for i in matmul.implementations if i.label == "cuda:6-warpgroups")
    monkeypatch.setitem(BACKENDS["cuda"].__dict__, "reason", None)
    for capabilities, words in ((["80"], "here is 8.0"), (["120", "80"], "here is 8.0 and 12.0"),
                                (["90"], None), (["80", "90"], None)):  # fmt: skip
        devices = [SimpleNamespace(compute_capability=c) for c in capabilities]
        runtime = SimpleNamespace(getDeviceCount=devices.__len__)
        cuda = SimpleNamespace(Device=devices.__getitem__, runtime=runtime)
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
        assert i.reason is None if words is None else words in str(i.reason)
        (listed,) = (k for k in machine.cuda_kernels() if k.kernel == "matmul")
        said = f"not here (only GPUs of compute capability 9.0 multiply by warpgroups; {words})"
        assert (said in listed.verified) == (words is not None)
    monkeypatch.setitem(BACKENDS["cuda"].__dict__, "reason", "the driver is missing")
    assert i.reason == "the driver is missing"


def test_it_runs_only_when_it_is_asked_for(rng: Any) -> None:
    ours = [i for i in matmul.implementations if i.name.startswith("6-warpgroups")]
    assert len(ours) == 4
    a = rng.normal(size=(8, 8)).astype("f4")
    assert all(i.worth is not None and not i.worth(a, a) for i in ours)
    assert not any(i.accepts is None or i.accepts(a.astype("f8"), a.astype("f8")) for i in ours)


def test_the_compiler_is_told_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside CuPy's; compilers that refuse to be told twice are named."""
    source = Source("matmul_warpgroup.cu", T="half")
    assert source.only == "sm_90a" and "-arch=sm_90a" in nvidia.options(source)
    assert Source("matmul.cu").only is None
    assert not any("-arch" in option for option in nvidia.options(Source("matmul.cu")))
    asked: list[str] = []
    module = SimpleNamespace(get_function=asked.append)
    monkeypatch.setattr(nvidia, "_module", lambda _: module)
    for version, words in (((12, 8), "NVRTC 12.8 is too old, 12.9 is wanted"), ((13, 0), "")):
        nvrtc = SimpleNamespace(getVersion=lambda version=version: version)
        compiler = SimpleNamespace(CompileException=ValueError)
        cuda = SimpleNamespace(nvrtc=nvrtc, compiler=compiler)
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
        if words:
            with pytest.raises(CompileError, match=words):
                nvidia._function(source, "warpgroup_product")
        else:
            nvidia._function(source, "warpgroup_product")
    assert asked == ["warpgroup_product"]


# The machine code


@pytest.mark.skipif(toolkit.reason() is not None, reason=str(toolkit.reason()))
def test_cupys_architecture_and_ours_together_make_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVRTC gets `-arch` twice, in either order."""
    source = Source("matmul_warpgroup.cu", T="half", RESULT="half", TILE="Medium",
                    A_ALONG=1, B_ALONG=0)  # fmt: skip
    usual = nvidia.options(source)
    for more in (("--gpu-architecture=sm_90",), ("--gpu-architecture=compute_90",)):
        monkeypatch.setattr(toolkit, "options", lambda _, more=more: (*usual, *more))
        code = toolkit.functions(toolkit.compiled(source, "sm_90a")[0])
        (found,) = toolkit.instructions(list(code.values()), "sm_90a")
        assert any(name.startswith("HGMMA") for name in found)


@pytest.mark.skipif(toolkit.reason() is not None, reason=str(toolkit.reason()))
def test_products_that_the_compiler_lets_wait_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))
    waiting = [
        facts.facts([planted(mistake)], "sm_90a")[0]["planted"].waiting
        for mistake in ("NONE", "SUMS_READ")
    ]
    assert waiting == [False, True]


# What the instructions do


def matrix(rng: np.random.Generator, rows: int, number: str) -> tuple[np.ndarray, np.ndarray]:
    """Terms of as many rows: the numbers, and their bits in two or four bytes."""
    terms = 8 if number == "float" else 16
    x = rng.normal(size=(rows, terms)).astype("f4")
    if number == "half":
        return x.astype("f2").astype("f8"), x.astype("f2").view("u2")
    if number == "float":  # the last 13 bits are cut off
        return (x.view("u4") & np.uint32(0xFFFFE000)).view("f4").astype("f8"), x.view("u4")
    bits = (x.view("u4") >> 16).astype("u2")
    return (bits.astype("u4") << 16).view("f4").astype("f8"), bits


MODES = {128: 1, 64: 2, 32: 3, 16: 0}
"""Widths of swizzles, and what descriptors call them; 16 bytes is none."""


def put(
    image: np.ndarray, bits: np.ndarray, start: int, leading: int, stride: int, width: int,
    across: bool
) -> int:  # fmt: skip
    """Lay a matrix out in an image of shared memory. Returns its descriptor.

    In units of 16 bytes, without the swizzle, the manual's layouts are, of chunks along (row,
    chunk): ((8, rows / 8), 2) at distances ((width, stride), 1), or leading, if there is no
    swizzle; across (chunk of 8 rows, term): ((width, ...), (8, 2)) at ((1, leading), (width,
    stride)), or ((..., stride), (1, leading)).
    """
    size, wide = bits.itemsize, width // 16
    for row, term in np.ndindex(bits.shape):
        if not across:
            chunk, inside = divmod(term * size, 16)
            at = row // 8 * stride + row % 8 * width + chunk * (leading if wide == 1 else 16)
        elif wide > 1:
            chunk, inside = row // 8, row % 8 * size
            at = chunk // wide * leading + chunk % wide * 16 + term % 8 * width + term // 8 * stride
        else:
            chunk, inside = row // 8, row % 8 * size
            at = chunk * stride + term % 8 * 16 + term // 8 * leading
        at += start
        at ^= (at // 128 % wide) * 16
        image[at + inside : at + inside + size] = bits[row, term : term + 1].view("u1")
    return start >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | MODES[width] << 62


WRAPPERS = {
    "half": "wgmma_m64k16_f16<WIDTH, {}, {}>",
    "bfloat16": "wgmma_m64k16_bf16<WIDTH, {}, {}>",
    "float": "wgmma_m64k8_tf32<WIDTH>",
}


def source_of(number: str, columns: int, a_across: bool = False, b_across: bool = False) -> Source:
    wrapper = WRAPPERS[number].format(int(a_across), int(b_across))
    return Source(KERNELS, PRODUCT=wrapper, WIDTH=columns, MISTAKE="NONE")


def run(
    source: Source, image: np.ndarray, a: int, b: int, columns: int = 128, threads: int = 128
) -> np.ndarray:
    d = np.ones((64, columns), "f4")
    chunks = image.view("u4").reshape(-1, 4)
    source.kernel("product")(1, threads, chunks, len(chunks), a, b, d, shared=image.nbytes)
    return d


@on_emulator
@pytest.mark.parametrize(
    ("number", "columns", "a_across", "b_across"),
    [
        ("half", 128, False, False),
        ("half", 256, True, True),
        ("bfloat16", 128, True, False),
        ("bfloat16", 256, False, True),
        ("float", 256, False, False),
    ],
)
def test_products_of_what_descriptors_describe(
    rng: Any, number: str, columns: int, a_across: bool, b_across: bool
) -> None:
    """Every width of swizzle, distances that leave gaps, and terms inside of a line."""
    source = source_of(number, columns, a_across, b_across)
    for width in MODES:
        image = np.zeros(128 * 1024, "u1")
        (a, a_bits), (b, b_bits) = matrix(rng, 64, number), matrix(rng, columns, number)
        # Groups of 8 lines, a gap as long behind each, so that each starts a pattern.
        group = 16 * width
        distances = 4 * group if width > 16 else 8192, group
        within = 32 if width == 128 and not a_across else 0  # the second product of a line
        of_a = put(image, a_bits, within, *distances, width, a_across)
        of_b = put(image, b_bits, 48 * 1024, *distances, width, b_across)
        d = run(source, image, of_a, of_b, columns)
        np.testing.assert_allclose(d, 1 + 2 * a @ b.T, rtol=0, atol=2e-5)


def refused(words: str, a: int = 1 << 62, b: int = 1 << 62, threads: int = 128) -> EmulatorError:
    with pytest.raises(EmulatorError, match=words) as error:
        run(source_of("half", 128), np.zeros(32768, "u1"), a, b, threads=threads)
    return error.value


@on_emulator
def test_descriptors_that_no_gpu_takes() -> None:
    error = refused(
        r"descriptor 0x4000000000004000 of A has bits that must be 0", a=1 << 62 | 1 << 14
    )
    first = next(
        i for i, line in enumerate(KERNELS.read_text().split("\n"), 1) if "PRODUCT(sums" in line
    )
    assert (error.file, error.line) == (str(KERNELS), first)
    refused(r"descriptor 0x4002\w+ of B has bits that must be 0", b=1 << 62 | 1 << 49)
    refused(r"A starts at 128: .* must start at a multiple of 1024 bytes", a=1 << 62 | 8)
    refused(r"B starts at 128: .* must start at a multiple of 256 bytes", b=3 << 62 | 8)
    refused(r"reads at byte \d+ of shared memory, which has 232448", b=1 << 62 | 0x3000 << 32)
    refused("wants warpgroups of 128 threads; the block has 96 threads", threads=96)


@on_emulator
def test_descriptors_are_made_of_multiples_of_16_bytes(tmp_path: Path) -> None:
    path = tmp_path / "describe.cu"
    path.write_text("""// needs: sm_90a
#include "wgmma.cuh"
extern "C" __global__ void describe(int start, int leading, int stride, bool other,
                                    unsigned long long* found) {
  DYNAMIC_SHARED(char, memory);
  __shared__ float elsewhere[4];
  const char* from = other ? reinterpret_cast<const char*>(elsewhere) : memory;
  found[0] = wgmma_descriptor(from + start, leading, stride);
}
""")
    describe = Source(path).kernel("describe")
    found = np.zeros(1, "u8")
    describe(1, 1, 4096, 8192, 1024, False, found, shared=8192)
    assert found[0] == 4096 >> 4 | 8192 >> 4 << 16 | 1024 >> 4 << 32 | 1 << 62
    for start, leading, stride in ((8, 0, 0), (0, 24, 0), (0, 0, 1 << 18)):
        with pytest.raises(EmulatorError, match="must be multiples of 16 bytes below 256 KB"):
            describe(1, 1, start, leading, stride, False, found, shared=64)
    with pytest.raises(EmulatorError, match="operands must lie in dynamic shared memory"):
        describe(1, 1, 0, 0, 0, True, found, shared=64)


# Mistakes


@functools.cache
def planted(mistake: str) -> Source:
    return Source(KERNELS, PRODUCT="wgmma_m64k16_f16<128, 0, 0>", WIDTH=128, MISTAKE=mistake)


def run_planted(mistake: str, order: str = "forward") -> np.ndarray:
    d = np.zeros((64, 128), "f4")
    with running(order):
        planted(mistake).kernel("planted")(1, 128, np.ones(8, "f2"), d, shared=24 * 1024)
    return d


MISTAKES = {
    "NO_PROXY_FENCE": r"at byte \d+ that was written with no fence_proxy_async\(\) behind it",
    "FENCE_BEFORE_STORE": r"at byte \d+ that was written with no fence_proxy_async\(\) behind it",
    "NO_FENCE": r"a wgmma_fence\(\) is missing between the last use of the sums",
    "SUMS_WRITTEN": r"the sums of this wgmma were written to before it was waited for, thread",
    "OPERAND_WRITTEN": r"at byte 0, which this wgmma reads, was written to before it was waited",
    "OPERAND_COPIED": r"at byte \d+ to which an asynchronous copy is under way",
    "NO_WAIT": r"no wgmma_wait\(\) waits for this wgmma, warp 0",
    "OTHER_LANE": "threads 32 and 40 give other descriptors",
    "OTHER_WARP": "warp 2 begins another product than a warp of its group",
    "THREE_WARPS": "a wgmma is begun by a warp, but not by warp 3 of its group",
}


@on_emulator
def test_without_a_mistake_nothing_is_found() -> None:
    for order in ("forward", "reverse", "random"):
        np.testing.assert_array_equal(run_planted("NONE", order), np.full((64, 128), 16))


@on_emulator
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake: str) -> None:
    """With the line of the product."""
    with pytest.raises(EmulatorError, match=MISTAKES[mistake]) as error:
        run_planted(mistake)
    line = KERNELS.read_text().split("\n")[error.value.line - 1]
    assert line.endswith("// the product")


@on_emulator
def test_sums_that_are_read_too_early_are_nan() -> None:
    with pytest.raises(EmulatorError, match="NaN has come to parameter `float. d`"):
        run_planted("SUMS_READ")


@on_emulator
@pytest.mark.parametrize(("mistake", "found"), [("NONE", False), ("NO_BARRIER", True)])
def test_races_with_products_are_found(tmp_path: Path, mistake: str, found: bool) -> None:
    """The thread sanitizer sees what tensor cores read."""
    definitions = repr({"PRODUCT": "wgmma_m64k16_f16<128, 0, 0>", "WIDTH": 128})
    program = tmp_path / "program.py"
    program.write_text(f"""
import numpy as np
from minigrad_kernels.cuda import EmulatorError, kernel

def run():
    planted = kernel({str(KERNELS)!r}, "planted", MISTAKE={mistake!r}, **{definitions})
    try:
        planted(1, 128, np.ones(8, "f2"), np.zeros((64, 128), "f4"), shared=24 * 1024)
    except EmulatorError:
        pass  # here it is about what the sanitizer says
""")
    said = sanitized(f"{program}:run", "racecheck")
    assert any(finding.what.startswith("race: ") for finding in said) == found, said


# Operands in lines


@on_emulator
@pytest.mark.parametrize(("number", "dtype"), [("half", "f2"), ("float", "f4"), ("bfloat16", "f4")])
@pytest.mark.parametrize("along", [True, False])
def test_lines(rng: Any, number: str, dtype: str, along: bool) -> None:
    """Numbers of two matrices, rounded; zeros behind each row."""
    rows, terms, padded = 35, 43, 48
    x = laid_out(rng.normal(size=(2, rows, terms)).astype(dtype), along)
    memory = np.ascontiguousarray(x if along else x.mT).reshape(-1)
    y = np.full((2, rows, padded), 7, "u2" if number == "bfloat16" else dtype)
    run = kernel(
        "matmul_lines.cu",
        "lines",
        T="float" if dtype == "f4" else "half",
        RESULT=number,
        ALONG=int(along),
    )
    leading = terms if along else rows
    run(2 * 2 * 2, 256, memory, leading, 0, rows * terms, y, rows, terms, padded, 2)
    got = y.astype("f8")
    if number == "bfloat16":
        got = (y.astype("u4") << 16).view("f4").astype("f8")
    np.testing.assert_array_equal(got[:, :, :terms], rounded(x, number))
    assert not got[:, :, terms:].any()
