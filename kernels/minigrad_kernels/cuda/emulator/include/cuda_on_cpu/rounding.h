// Arithmetic and conversions that round as their names say: to the nearest (rn), to zero (rz), up
// (ru) or down (rd). None of it is contracted with what stands around it.
#pragma once

namespace cuda_on_cpu {

// What `compute` gives with the processor set to round so. Operands and result must be volatile:
// the compiler thinks that rounding never changes.
template <class Compute>
inline auto rounding(int how, Compute compute) {
  int before = fegetround();
  fesetround(how);
  volatile auto result = compute();
  fesetround(before);
  return static_cast<std::remove_volatile_t<decltype(result)>>(result);
}

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_ARITHMETIC(Value, one, fused, ending, how)                              \
  inline Value one##add_##ending(volatile Value a, volatile Value b) {                      \
    return cuda_on_cpu::rounding(how, [&] { return a + b; });                               \
  }                                                                                         \
  inline Value one##sub_##ending(volatile Value a, volatile Value b) {                      \
    return cuda_on_cpu::rounding(how, [&] { return a - b; });                               \
  }                                                                                         \
  inline Value one##mul_##ending(volatile Value a, volatile Value b) {                      \
    return cuda_on_cpu::rounding(how, [&] { return a * b; });                               \
  }                                                                                         \
  inline Value one##div_##ending(volatile Value a, volatile Value b) {                      \
    return cuda_on_cpu::rounding(how, [&] { return a / b; });                               \
  }                                                                                         \
  inline Value one##rcp_##ending(volatile Value a) {                                        \
    return cuda_on_cpu::rounding(how, [&] { return Value(1) / a; });                        \
  }                                                                                         \
  inline Value one##sqrt_##ending(volatile Value a) {                                       \
    return cuda_on_cpu::rounding(how, [&] { return std::sqrt(a); });                        \
  }                                                                                         \
  inline Value fused##_##ending(volatile Value a, volatile Value b, volatile Value c) {     \
    return cuda_on_cpu::rounding(how, [&] { return std::fma(a, b, c); });                   \
  }
#define CUDA_ON_CPU_ROUNDED(ending, how)                        \
  CUDA_ON_CPU_ARITHMETIC(float, __f, __fmaf, ending, how)       \
  CUDA_ON_CPU_ARITHMETIC(double, __d, __fma, ending, how)

CUDA_ON_CPU_ROUNDED(rz, FE_TOWARDZERO)
CUDA_ON_CPU_ROUNDED(ru, FE_UPWARD)
CUDA_ON_CPU_ROUNDED(rd, FE_DOWNWARD)

// To the nearest, as the processor does anyway.
#define CUDA_ON_CPU_TO_NEAREST(Value, one, fused)                                     \
  inline Value one##mul_rn(Value a, Value b) {                                        \
    volatile Value product = a * b;                                                   \
    return product;                                                                   \
  }                                                                                   \
  inline Value one##add_rn(Value a, Value b) {                                        \
    volatile Value sum = a + b;                                                       \
    return sum;                                                                       \
  }                                                                                   \
  inline Value one##sub_rn(Value a, Value b) { return one##add_rn(a, -b); }           \
  inline Value one##div_rn(Value a, Value b) { return a / b; }                        \
  inline Value one##rcp_rn(Value a) { return 1 / a; }                                 \
  inline Value one##sqrt_rn(Value a) { return std::sqrt(a); }                         \
  inline Value fused##_rn(Value a, Value b, Value c) { return std::fma(a, b, c); }
CUDA_ON_CPU_TO_NEAREST(float, __f, __fmaf)
CUDA_ON_CPU_TO_NEAREST(double, __d, __fma)

// Numbers to integers. What does not fit becomes the nearest that does; of NaN, 0 or the lowest.

namespace cuda_on_cpu {

template <class Integer, class Real>
inline Integer to_integer(Real whole) {
  constexpr bool WIDE = sizeof(Integer) == 8;
  if (whole != whole) return WIDE ? Integer(1) << 63 : 0;
  if (whole <= static_cast<Real>(std::numeric_limits<Integer>::min())) {
    return std::numeric_limits<Integer>::min();
  }
  if (whole >= static_cast<Real>(std::numeric_limits<Integer>::max())) {
    return std::numeric_limits<Integer>::max();
  }
  return static_cast<Integer>(whole);
}

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_TO_INTEGER(Real, real, Integer, integer)                                       \
  inline Integer __##real##2##integer##_rn(Real x) {                                               \
    return cuda_on_cpu::to_integer<Integer>(std::nearbyint(x));                                    \
  }                                                                                                \
  inline Integer __##real##2##integer##_rz(Real x) {                                               \
    return cuda_on_cpu::to_integer<Integer>(std::trunc(x));                                        \
  }                                                                                                \
  inline Integer __##real##2##integer##_ru(Real x) {                                               \
    return cuda_on_cpu::to_integer<Integer>(std::ceil(x));                                         \
  }                                                                                                \
  inline Integer __##real##2##integer##_rd(Real x) {                                               \
    return cuda_on_cpu::to_integer<Integer>(std::floor(x));                                        \
  }
#define CUDA_ON_CPU_TO_INTEGERS(Real, real)                      \
  CUDA_ON_CPU_TO_INTEGER(Real, real, int, int)                   \
  CUDA_ON_CPU_TO_INTEGER(Real, real, unsigned, uint)             \
  CUDA_ON_CPU_TO_INTEGER(Real, real, long long, ll)              \
  CUDA_ON_CPU_TO_INTEGER(Real, real, unsigned long long, ull)
CUDA_ON_CPU_TO_INTEGERS(float, float)
CUDA_ON_CPU_TO_INTEGERS(double, double)

// Integers, and doubles, to narrower numbers

#define CUDA_ON_CPU_TO_REAL(From, from, Real, real)                                                \
  inline Real __##from##2##real##_rn(From x) { return static_cast<Real>(x); }                      \
  inline Real __##from##2##real##_rz(volatile From x) {                                            \
    return cuda_on_cpu::rounding(FE_TOWARDZERO, [&] { return static_cast<Real>(x); });             \
  }                                                                                                \
  inline Real __##from##2##real##_ru(volatile From x) {                                            \
    return cuda_on_cpu::rounding(FE_UPWARD, [&] { return static_cast<Real>(x); });                 \
  }                                                                                                \
  inline Real __##from##2##real##_rd(volatile From x) {                                            \
    return cuda_on_cpu::rounding(FE_DOWNWARD, [&] { return static_cast<Real>(x); });               \
  }
CUDA_ON_CPU_TO_REAL(int, int, float, float)
CUDA_ON_CPU_TO_REAL(unsigned, uint, float, float)
CUDA_ON_CPU_TO_REAL(long long, ll, float, float)
CUDA_ON_CPU_TO_REAL(unsigned long long, ull, float, float)
CUDA_ON_CPU_TO_REAL(long long, ll, double, double)
CUDA_ON_CPU_TO_REAL(unsigned long long, ull, double, double)
CUDA_ON_CPU_TO_REAL(double, double, float, float)
inline double __int2double_rn(int x) { return x; }
inline double __uint2double_rn(unsigned x) { return x; }
