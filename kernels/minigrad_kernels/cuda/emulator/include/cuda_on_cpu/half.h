// Numbers of 16 bits, half and bfloat16: kept rounded, computed with in float.
//
// A sum, product, quotient or root of two of them, computed in float and rounded once more, is the
// correctly rounded one: float has more than twice their digits.
#pragma once

namespace cuda_on_cpu {

// binary16: 1 bit sign, 5 exponent, 10 fraction.
struct Binary16 {
  static float widen(uint16_t bits) {
#if defined(__FLT16_MANT_DIG__) && !defined(CUDA_ON_CPU_PORTABLE)  // the compiler has the type
    return static_cast<float>(bits_as<_Float16>(bits));
#else
    uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 0) {
      float size = static_cast<float>(fraction) * 0x1p-24f;
      return bits_as<float>(bits_as<uint32_t>(size) | sign);
    }
    uint32_t wide = exponent == 31 ? 255u : exponent + 112;
    uint32_t quiet = exponent == 31 && fraction ? 0x400000u : 0;
    return bits_as<float>(sign | wide << 23 | fraction << 13 | quiet);
#endif
  }

  static uint16_t round(float value) {
#if defined(__FLT16_MANT_DIG__) && !defined(CUDA_ON_CPU_PORTABLE)
    return bits_as<uint16_t>(static_cast<_Float16>(value));
#else
    uint32_t bits = bits_as<uint32_t>(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffff;
    if (size > 0x7f800000u) return sign | 0x7e00 | (size >> 13 & 0x3ff);  // NaN
    if (size >= 0x477ff000u) return sign | 0x7c00;                        // 65520 and more
    if (size < 0x38800000u) {  // no normal number: adding 0.5 rounds to the last bit there is
      return sign | (bits_as<uint32_t>(bits_as<float>(size) + 0.5f) - 0x3f000000u);
    }
    size += 0xfff + (size >> 13 & 1);
    return sign | (size - 0x38000000u) >> 13;
#endif
  }
};

// The upper half of a float.
struct Brain16 {
  static float widen(uint16_t bits) { return bits_as<float>(static_cast<uint32_t>(bits) << 16); }

  static uint16_t round(float value) {
    uint32_t bits = bits_as<uint32_t>(value);
    if ((bits & 0x7fffffff) > 0x7f800000u) return bits >> 16 | 0x40;  // NaN stays NaN
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  }
};

template <class Format>
struct Small {
  uint16_t bits;

  Small() = default;
  Small(float value) : bits(Format::round(value)) {}
  Small(double value) : Small(static_cast<float>(value)) {}
  Small(int value) : Small(static_cast<float>(value)) {}
  Small(unsigned value) : Small(static_cast<float>(value)) {}
  Small(long long value) : Small(static_cast<float>(value)) {}
  operator float() const { return Format::widen(bits); }

  friend Small operator+(Small a, Small b) { return float(a) + float(b); }
  friend Small operator-(Small a, Small b) { return float(a) - float(b); }
  friend Small operator*(Small a, Small b) { return float(a) * float(b); }
  friend Small operator/(Small a, Small b) { return float(a) / float(b); }
  friend Small operator-(Small a) { return -float(a); }
  friend Small& operator+=(Small& a, Small b) { return a = a + b; }
  friend Small& operator-=(Small& a, Small b) { return a = a - b; }
  friend Small& operator*=(Small& a, Small b) { return a = a * b; }
  friend Small& operator/=(Small& a, Small b) { return a = a / b; }
  friend bool operator==(Small a, Small b) { return float(a) == float(b); }
  friend bool operator!=(Small a, Small b) { return float(a) != float(b); }
  friend bool operator<(Small a, Small b) { return float(a) < float(b); }
  friend bool operator>(Small a, Small b) { return float(a) > float(b); }
  friend bool operator<=(Small a, Small b) { return float(a) <= float(b); }
  friend bool operator>=(Small a, Small b) { return float(a) >= float(b); }
};

template <class Number>
struct alignas(4) Pair {
  Number x, y;

  friend Pair operator+(Pair a, Pair b) { return {a.x + b.x, a.y + b.y}; }
  friend Pair operator-(Pair a, Pair b) { return {a.x - b.x, a.y - b.y}; }
  friend Pair operator*(Pair a, Pair b) { return {a.x * b.x, a.y * b.y}; }
  friend Pair operator/(Pair a, Pair b) { return {a.x / b.x, a.y / b.y}; }
};

}  // namespace cuda_on_cpu

using __half = cuda_on_cpu::Small<cuda_on_cpu::Binary16>;
using __half2 = cuda_on_cpu::Pair<__half>;
using __nv_bfloat16 = cuda_on_cpu::Small<cuda_on_cpu::Brain16>;
using __nv_bfloat162 = cuda_on_cpu::Pair<__nv_bfloat16>;
using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

// What both have, of one number and of two

#define CUDA_ON_CPU_SMALL(Number, Two)                                                         \
  inline Number __hadd(Number a, Number b) { return a + b; }                                   \
  inline Number __hsub(Number a, Number b) { return a - b; }                                   \
  inline Number __hmul(Number a, Number b) { return a * b; }                                   \
  inline Number __hdiv(Number a, Number b) { return a / b; }                                   \
  inline Number __hneg(Number a) { return -a; }                                                \
  inline Number __habs(Number a) { return fabsf(a); }                                          \
  inline Number __hmax(Number a, Number b) { return fmaxf(a, b); }                             \
  inline Number __hmin(Number a, Number b) { return fminf(a, b); }                             \
  inline Number __hfma(Number a, Number b, Number c) { return fmaf(a, b, c); } \
  inline bool __hisnan(Number a) { return std::isnan(float(a)); }                              \
  inline bool __heq(Number a, Number b) { return a == b; }                                     \
  inline bool __hne(Number a, Number b) { return a != b; }                                     \
  inline bool __hlt(Number a, Number b) { return a < b; }                                      \
  inline bool __hle(Number a, Number b) { return a <= b; }                                     \
  inline bool __hgt(Number a, Number b) { return a > b; }                                      \
  inline bool __hge(Number a, Number b) { return a >= b; }                                     \
  inline Number hexp(Number a) { return expf(a); }                                             \
  inline Number hlog(Number a) { return logf(a); }                                             \
  inline Number hsqrt(Number a) { return sqrtf(a); }                                           \
  inline Number hrsqrt(Number a) { return rsqrtf(a); }                                         \
  inline Number htanh(Number a) { return tanhf(a); }                                           \
  inline Two __hadd2(Two a, Two b) { return a + b; }                                           \
  inline Two __hsub2(Two a, Two b) { return a - b; }                                           \
  inline Two __hmul2(Two a, Two b) { return a * b; }                                           \
  inline Two __hfma2(Two a, Two b, Two c) {                                                    \
    return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};                                     \
  }                                                                                            \
  inline Two __hmax2(Two a, Two b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }            \
  inline Two __hmin2(Two a, Two b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }

CUDA_ON_CPU_SMALL(__half, __half2)
CUDA_ON_CPU_SMALL(__nv_bfloat16, __nv_bfloat162)

inline __half __float2half(float x) { return x; }
inline __half __float2half_rn(float x) { return x; }
inline __half __double2half(double x) { return x; }
inline __half __int2half_rn(int x) { return x; }
inline float __half2float(__half x) { return x; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 x) { return {x.x, x.y}; }
inline __half2 __float2half2_rn(float x) { return {x, x}; }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline float2 __half22float2(__half2 x) { return {x.x, x.y}; }
inline float __low2float(__half2 x) { return x.x; }
inline float __high2float(__half2 x) { return x.y; }
inline __half __low2half(__half2 x) { return x.x; }
inline __half __high2half(__half2 x) { return x.y; }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline short __half_as_short(__half x) { return static_cast<short>(x.bits); }
inline __half __ushort_as_half(unsigned short x) { return cuda_on_cpu::bits_as<__half>(x); }
inline __half __short_as_half(short x) { return cuda_on_cpu::bits_as<__half>(x); }

inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
inline __nv_bfloat16 __double2bfloat16(double x) { return x; }
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 x) { return {x.x, x.y}; }
inline __nv_bfloat162 __float2bfloat162_rn(float x) { return {x, x}; }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) { return {x, x}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 x) { return {x.x, x.y}; }
inline float __low2float(__nv_bfloat162 x) { return x.x; }
inline float __high2float(__nv_bfloat162 x) { return x.y; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 x) { return x.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 x) { return x.y; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) {
  return cuda_on_cpu::bits_as<__nv_bfloat16>(x);
}
