"""Exponentials and their relatives, for compiled loops: of float32 as polynomials, which vectorise.

    from .math import exp
    for i in range(x.size):
        y[i] = exp(x[i])

The C library's functions cost 5 ns each, since they are called element by element. Here a float32
is brought to a short interval with a few additions and shifts, and a polynomial does the rest, so
that a loop computes as many at once as a vector register holds. The polynomials minimise the
largest relative error on their interval (fitted with Remez's exchange algorithm); the errors of the
whole functions, measured over all their arguments, are in the tests. A float64 goes to the C
library.

Infinities and NaN give what NumPy gives. Exponentials below 2**-125 may be 0: numbers close to the
smallest float32 gain nothing, and slow many CPUs down.

Method of the reductions: Cody, Waite, Software manual for the elementary functions, 1980.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

f32 = np.float32

OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True}
"""A product and a sum may be one instruction. Given here, since otherwise a caller's options would
hold, and reordered sums would undo the reductions. A loop is vectorised only if all is inlined."""


def _by_type(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate what computes `function` of a float32; a float64 takes the function itself."""

    def register(single: Callable[..., Any]) -> Callable[..., Any]:
        @overload(function, jit_options=OPTIONS, strict=False)
        def choose(x: Any) -> Any:
            return {types.float32: single, types.float64: function}.get(x)

        return single

    return register


# Bits


@intrinsic
def _power_of_two(typing: Any, t: Any) -> Any:
    """2**n as float32, for t = n + ROUND; n from -126 to 127. For n = -127 it is 0.

    The last bits of t are n + 127, and belong where a float32 has its exponent.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(32))
        return builder.bitcast(builder.shl(bits, ir.IntType(32)(23)), ir.FloatType())

    return types.float32(types.float32), generate


@intrinsic
def _exponent(typing: Any, x: Any) -> Any:
    """The whole number e for which x / 2**e is in [sqrt(1/2), sqrt(2)), for x positive."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(32)
        bits = builder.bitcast(args[0], integer)
        e = builder.ashr(builder.sub(bits, integer(0x3F3504F3)), integer(23))
        return builder.sitofp(e, ir.FloatType())

    return types.float32(types.float32), generate


@intrinsic
def _copysign(typing: Any, x: Any, sign: Any) -> Any:
    """|x| with the sign of the other."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real = ir.FloatType()
        kind = ir.FunctionType(real, [real, real])
        return builder.call(builder.module.declare_intrinsic("llvm.copysign", [real], kind), args)

    return types.float32(types.float32, types.float32), generate


@intrinsic
def _fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), generate


@intrinsic
def maximum(typing: Any, x: Any, y: Any) -> Any:
    """The larger of two numbers of one type; NaN if one of them is NaN.

    Unlike a comparison, it may be reordered, so that a loop for the largest number is vectorised.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real = args[0].type
        kind = ir.FunctionType(real, [real, real])
        return builder.call(builder.module.declare_intrinsic("llvm.maximum", [real], kind), args)

    return (x(x, y) if x == y and x in (types.float32, types.float64) else None), generate


# Exponentials

ROUND = f32(1.5 * 2**23 + 127)
"""Added to a small number it leaves no room for digits after the point: the sum is rounded."""

LOG2E = f32(1 / math.log(2))
LN2_HIGH = f32(0.693145751953125)  # so few digits that its products with whole numbers are exact
LN2_LOW = f32(math.log(2) - 0.693145751953125)
ZERO, QUARTER, HALF, ONE, TWO = f32(0), f32(0.25), f32(0.5), f32(1), f32(2)
INFINITY, NAN = f32(math.inf), f32(math.nan)

LARGEST = f32(89)  # its exponential is infinite
LARGEST_FINITE = f32(88.72283935546875)  # the largest number whose exponential is not
SMALLEST = f32(-126 * math.log(2))  # `exp` makes it 0
SMALLEST_NEGATIVE = f32(-127 * math.log(2))  # `exp_of_negative` makes it 0
SMALLEST_OF_EXPM1 = f32(-20)  # -1 + exp(-20) is -1
LARGEST_OF_TANH = f32(10)  # its tanh is 1

E0 = f32(0.4999999305)
E1 = f32(0.1666651479)
E2 = f32(0.04166845679)
E3 = f32(0.008369418827)
E4 = f32(0.001381314459)


@numba.njit(**OPTIONS)
def _reduced(x):
    """exp(r) - 1 for r = x - n * log(2), and n + ROUND, where n is x / log(2) rounded.

    exp(r) - 1 is r + r**2 * q(r), q of degree 4: on [-log(2) / 2, log(2) / 2] it errs by at most
    3.3e-9 * exp(r).
    """
    t = x * LOG2E + ROUND
    n = t - ROUND
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    q = E0 + r * (E1 + r * (E2 + r * (E3 + r * E4)))
    return r + (r * r) * q, t


def exp(x: Any) -> Any:
    """e**x."""
    return math.exp(x)


@_by_type(exp)
def _exp(x):
    z = SMALLEST if x < SMALLEST else x  # NaN is not less, and stays
    p, t = _reduced(z)
    y = (p + ONE) * _power_of_two(t - ONE) * TWO  # 2**128 is no float32, but twice 2**127
    # A caller that may reorder products could move the 2 to another factor, and y not be infinite.
    return INFINITY if x > LARGEST_FINITE else y


def exp_of_negative(x: Any) -> Any:
    """e**x for x not above 0: a quarter faster, since nothing can overflow. Wrong above 88."""
    return math.exp(x)


@_by_type(exp_of_negative)
def _exp_of_negative(x):
    x = SMALLEST_NEGATIVE if x < SMALLEST_NEGATIVE else x
    p, t = _reduced(x)
    power = _power_of_two(t)
    return p * power + power


def expm1(x: Any) -> Any:
    """e**x - 1, also near 0."""
    return math.expm1(x)


@_by_type(expm1)
def _expm1(x):
    x = LARGEST if x > LARGEST else x
    x = SMALLEST_OF_EXPM1 if x < SMALLEST_OF_EXPM1 else x
    p, t = _reduced(x)
    half = _power_of_two(t - ONE)
    return (p * half + (half - HALF)) * TWO


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return math.tanh(x)


@_by_type(tanh)
def _tanh(x):
    a = abs(x)
    a = LARGEST_OF_TANH if a > LARGEST_OF_TANH else a
    y = expm1(a + a)
    return _copysign(y / (y + TWO), x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); where exp overflows, its infinity gives the right limit, 0."""
    return 1 / (1 + math.exp(-x))


@_by_type(sigmoid)
def _sigmoid(x):
    return ONE / (ONE + exp(-x))


# Logarithms

L0 = f32(0.3333333171)
L1 = f32(-0.2500082103)
L2 = f32(0.2000122689)
L3 = f32(-0.1662335738)
L4 = f32(0.1420175782)
L5 = f32(-0.1316018187)
L6 = f32(0.1276157816)
L7 = f32(-0.07634499314)

FAR = f32(2.0**32)
NEAR_ZERO = f32(2.0**-32)


@numba.njit(**OPTIONS)
def _log_of_split(f, e):
    """log((1 + f) * 2**e), for 1 + f in [sqrt(1/2), sqrt(2)].

    log(1 + f) is f - f**2 / 2 + f**3 * q(f), q of degree 7: it errs by at most 5.8e-9 of itself.
    """
    q = L4 + f * (L5 + f * (L6 + f * L7))
    q = L0 + f * (L1 + f * (L2 + f * (L3 + f * q)))
    square = f * f
    rest = (f * square) * q - HALF * square
    return e * LN2_HIGH + (f + (rest + e * LN2_LOW))


def log(x: Any) -> Any:
    """The natural logarithm: -inf for 0, NaN for what is less."""
    return math.log(x)


@_by_type(log)
def _log(x):
    """The factor takes the smallest and the largest numbers to where 2**-e is a float32."""
    factor, offset = (NEAR_ZERO, f32(32)) if x > ONE else (FAR, f32(-32))
    scaled = x * factor
    e = _exponent(scaled)
    f = scaled * _power_of_two(ROUND - e) - ONE
    y = _log_of_split(f, e + offset)
    y = y if x > ZERO else (-INFINITY if x == ZERO else NAN)
    return y if x < INFINITY else x  # infinity itself, or NaN


def log1p(x: Any) -> Any:
    """log(1 + x), also near 0."""
    return math.log1p(x)


@_by_type(log1p)
def _log1p(x):
    """1 + f is (1 + x) / 2**e. The quarters allow for e = 128."""
    e = _exponent(ONE + x)
    quarter = QUARTER * _power_of_two((ROUND + TWO) - e)
    f = _fma(x, quarter, quarter - ONE)
    y = _log_of_split(f, e)
    y = y if x > -ONE else (-INFINITY if x == -ONE else NAN)
    return y if x < INFINITY else x


# The normal distribution

SLOPE = f32(0.33)
FARTHEST = f32(13.5)  # the density there is less than any that exp returns

T0 = f32(7.263978581e-06)
T1 = f32(0.1314586118)
T2 = f32(0.1338636409)
T3 = f32(0.1027786469)
T4 = f32(0.1488206435)
T5 = f32(-0.1126144149)
T6 = f32(0.2990837212)
T7 = f32(-0.3282550112)
T8 = f32(0.1512454919)
T9 = f32(-0.02638858982)


def bell(x: Any) -> Any:
    """exp(-x**2 / 2): the density of the standard normal distribution times sqrt(2 * pi)."""
    return math.exp(-0.5 * x * x)


@_by_type(bell)
def _bell(x):
    """The square's rounding error would be as many times larger as the square is."""
    x = abs(x)
    x = FARTHEST if x > FARTHEST else x
    square = x * x
    error = _fma(x, x, -square)
    y = exp_of_negative(-HALF * square)
    return y - y * (HALF * error)


def normal_below(x: Any) -> Any:
    """The probability that a standard normal variable is less than x; precise in both tails."""
    return 0.5 * math.erfc(-math.sqrt(0.5) * x)


@_by_type(normal_below)
def _normal_below(x):
    """bell(x) * q(1 / (1 + 0.33 * |x|)) is above |x|; q of degree 9 errs by 8.8e-9 up to 13.5."""
    a = abs(x)
    a = FARTHEST if a > FARTHEST else a
    t = ONE / (ONE + SLOPE * a)
    q = T5 + t * (T6 + t * (T7 + t * (T8 + t * T9)))
    q = T0 + t * (T1 + t * (T2 + t * (T3 + t * (T4 + t * q))))
    above = bell(a) * q
    below = ONE - above
    return below if x > ZERO else above
