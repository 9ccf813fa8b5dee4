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

// CUDA's names for them come with its headers.
using Half = Small<Binary16>;
using Half2 = Pair<Half>;
using Brain = Small<Brain16>;
using Brain2 = Pair<Brain>;

}  // namespace cuda_on_cpu
