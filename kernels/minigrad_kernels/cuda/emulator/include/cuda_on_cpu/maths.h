// CUDA's functions of real numbers: intrinsics, and what NVRTC has without a header.
//
// The fast approximations (__expf, ...) are computed exactly here: a GPU's last bits are its own.
#pragma once

#define __expf expf
#define __exp10f exp10f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __powf powf
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
#define __sincosf sincosf

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }

// As CUDA has them: two numbers of one kind.
#define CUDA_ON_CPU_EXTREMES(Value, A, B)       \
  inline Value max(A first, B second) {         \
    Value a = first, b = second;                \
    return a < b ? b : a;                       \
  }                                             \
  inline Value min(A first, B second) {         \
    Value a = first, b = second;                \
    return b < a ? b : a;                       \
  }
#define CUDA_ON_CPU_INTEGER_EXTREMES(Signed, Unsigned) \
  CUDA_ON_CPU_EXTREMES(Signed, Signed, Signed)         \
  CUDA_ON_CPU_EXTREMES(Unsigned, Unsigned, Unsigned)   \
  CUDA_ON_CPU_EXTREMES(Unsigned, Signed, Unsigned)     \
  CUDA_ON_CPU_EXTREMES(Unsigned, Unsigned, Signed)
CUDA_ON_CPU_INTEGER_EXTREMES(int, unsigned)
CUDA_ON_CPU_INTEGER_EXTREMES(long, unsigned long)
CUDA_ON_CPU_INTEGER_EXTREMES(long long, unsigned long long)

// Of floating-point numbers, whichever is not NaN.
#define CUDA_ON_CPU_REAL_EXTREMES(Value, A, B)                    \
  inline Value max(A a, B b) { return fmax(Value(a), Value(b)); } \
  inline Value min(A a, B b) { return fmin(Value(a), Value(b)); }
CUDA_ON_CPU_REAL_EXTREMES(float, float, float)
CUDA_ON_CPU_REAL_EXTREMES(double, double, double)
CUDA_ON_CPU_REAL_EXTREMES(double, float, double)
CUDA_ON_CPU_REAL_EXTREMES(double, double, float)

// What is ambiguous there, too, in one sentence instead of a list of all that might be meant.
#define CUDA_ON_CPU_MIXED_EXTREME(name)                                                       \
  template <class A, class B>                                                                 \
  inline std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B> &&               \
                              std::is_floating_point_v<A> != std::is_floating_point_v<B>,     \
                          A>                                                                  \
  name(A a, B) {                                                                              \
    static_assert(sizeof(A) == 0, #name "() of a floating-point number and an integer is "    \
                                        "ambiguous; write 0.0f for 0, or T(0) of a type T");  \
    return a;                                                                                 \
  }
CUDA_ON_CPU_MIXED_EXTREME(max)
CUDA_ON_CPU_MIXED_EXTREME(min)

// Functions that C++ has not

inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline double rcbrt(double x) { return 1.0 / cbrt(x); }
inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
inline float normcdff(float x) { return static_cast<float>(normcdf(x)); }
inline float rhypotf(float x, float y) { return 1.0f / hypotf(x, y); }
inline double rhypot(double x, double y) { return 1.0 / hypot(x, y); }
inline double norm3d(double x, double y, double z) { return std::hypot(x, y, z); }
inline float norm3df(float x, float y, float z) { return std::hypot(x, y, z); }
inline double sinpi(double x) { return sin(M_PI * fmod(x, 2)); }
inline double cospi(double x) { return cos(M_PI * fmod(x, 2)); }
inline float sinpif(float x) { return static_cast<float>(sinpi(x)); }
inline float cospif(float x) { return static_cast<float>(cospi(x)); }
inline void sincos(float x, float* sine, float* cosine) { sincosf(x, sine, cosine); }
inline float fdividef(float a, float b) { return a / b; }

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

// Loads and stores with a hint for the caches

template <class Value>
inline Value __ldg(const Value* address) {
  return *address;
}
template <class Value>
inline Value __ldcs(const Value* address) {
  return *address;
}
template <class Value>
inline Value __ldcg(const Value* address) {
  return *address;
}
template <class Value>
inline Value __ldca(const Value* address) {
  return *address;
}
template <class Value>
inline Value __ldlu(const Value* address) {
  return *address;
}
template <class Value>
inline Value __ldcv(const Value* address) {
  return *address;
}
template <class Value>
inline void __stcs(Value* address, Value value) {
  *address = value;
}
template <class Value>
inline void __stcg(Value* address, Value value) {
  *address = value;
}
template <class Value>
inline void __stwb(Value* address, Value value) {
  *address = value;
}
template <class Value>
inline void __stwt(Value* address, Value value) {
  *address = value;
}
inline size_t __cvta_generic_to_shared(const void* address) {
  return reinterpret_cast<size_t>(address);
}
