// For NVRTC alone, which has none of the machine's headers: what kernels use of those of C and C++.
// It comes before sources that use a name of it; see standard.py. (nvcc and the emulator include the
// headers themselves.)

using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned;
using int64_t = long long;
using uint64_t = unsigned long long;
using intptr_t = long long;
using uintptr_t = unsigned long long;
using ushort = unsigned short;
using uint = unsigned;
using ulong = unsigned long;

#define INFINITY __builtin_bit_cast(float, 0x7f800000)
#define NAN __builtin_bit_cast(float, 0x7fc00000)
#define HUGE_VALF INFINITY
#define HUGE_VAL __builtin_bit_cast(double, 0x7ff0000000000000)

#define FLT_MAX 3.40282346638528859811704183484516925e+38f
#define FLT_MIN 1.17549435082228750796873653722224568e-38f
#define FLT_EPSILON 1.1920928955078125e-7f
#define DBL_MAX 1.79769313486231570814527423731704357e+308
#define DBL_MIN 2.22507385850720138309023271733240406e-308
#define DBL_EPSILON 2.2204460492503130808472633361816406e-16

#define CHAR_BIT 8
#define SHRT_MAX 32767
#define SHRT_MIN (-32768)
#define USHRT_MAX 65535
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LLONG_MAX 9223372036854775807ll
#define LLONG_MIN (-9223372036854775807ll - 1)
#define ULLONG_MAX 18446744073709551615ull
#define INT32_MAX INT_MAX
#define INT32_MIN INT_MIN
#define UINT32_MAX UINT_MAX
#define INT64_MAX LLONG_MAX
#define INT64_MIN LLONG_MIN
#define UINT64_MAX ULLONG_MAX

#define M_E 2.7182818284590452354
#define M_LOG2E 1.4426950408889634074
#define M_LOG10E 0.43429448190325182765
#define M_LN2 0.69314718055994530942
#define M_LN10 2.30258509299404568402
#define M_PI 3.14159265358979323846
#define M_PI_2 1.57079632679489661923
#define M_PI_4 0.78539816339744830962
#define M_1_PI 0.31830988618379067154
#define M_2_PI 0.63661977236758134308
#define M_2_SQRTPI 1.12837916709551257390
#define M_SQRT2 1.41421356237309504880
#define M_SQRT1_2 0.70710678118654752440

namespace std {

using ::abs, ::fabs, ::fmax, ::fmin, ::fmod, ::fma, ::remainder, ::copysign, ::hypot;
using ::ceil, ::floor, ::rint, ::round, ::trunc, ::nearbyint, ::lround, ::llround;
using ::sqrt, ::cbrt, ::pow, ::exp, ::exp2, ::expm1, ::log, ::log2, ::log10, ::log1p;
using ::sin, ::cos, ::tan, ::asin, ::acos, ::atan, ::atan2;
using ::sinh, ::cosh, ::tanh, ::asinh, ::acosh, ::atanh;
using ::erf, ::erfc, ::lgamma, ::tgamma;
using ::isfinite, ::isinf, ::isnan, ::signbit;
using ::int16_t, ::int32_t, ::int64_t, ::int8_t, ::size_t;
using ::uint16_t, ::uint32_t, ::uint64_t, ::uint8_t;

template <class Value>
__host__ __device__ constexpr const Value& max(const Value& a, const Value& b) {
  return a < b ? b : a;
}
template <class Value>
__host__ __device__ constexpr const Value& min(const Value& a, const Value& b) {
  return b < a ? b : a;
}
template <class Value>
__host__ __device__ constexpr void swap(Value& a, Value& b) {
  Value before = a;
  a = b;
  b = before;
}

template <class Value>
struct numeric_limits;

#define STANDARD_LIMITS(Value, least, most)                                 \
  static constexpr bool is_specialized = true;                              \
  __host__ __device__ static constexpr Value lowest() { return least; }     \
  __host__ __device__ static constexpr Value max() { return most; }
#define STANDARD_INTEGER(Value, least, most)                                \
  template <>                                                               \
  struct numeric_limits<Value> {                                            \
    STANDARD_LIMITS(Value, least, most)                                     \
    __host__ __device__ static constexpr Value min() { return least; }      \
  };
#define STANDARD_REAL(Value, SIZE, infinite, not_a_number)                                 \
  template <>                                                                              \
  struct numeric_limits<Value> {                                                           \
    STANDARD_LIMITS(Value, -SIZE##_MAX, SIZE##_MAX)                                        \
    __host__ __device__ static constexpr Value min() { return SIZE##_MIN; }                \
    __host__ __device__ static constexpr Value epsilon() { return SIZE##_EPSILON; }        \
    __host__ __device__ static constexpr Value infinity() { return infinite; }             \
    __host__ __device__ static constexpr Value quiet_NaN() { return not_a_number; }        \
  };

STANDARD_INTEGER(signed char, -128, 127)
STANDARD_INTEGER(unsigned char, 0, 255)
STANDARD_INTEGER(short, SHRT_MIN, SHRT_MAX)
STANDARD_INTEGER(unsigned short, 0, USHRT_MAX)
STANDARD_INTEGER(int, INT_MIN, INT_MAX)
STANDARD_INTEGER(unsigned, 0, UINT_MAX)
STANDARD_INTEGER(long long, LLONG_MIN, LLONG_MAX)
STANDARD_INTEGER(unsigned long long, 0, ULLONG_MAX)
STANDARD_REAL(float, FLT, INFINITY, NAN)
STANDARD_REAL(double, DBL, HUGE_VAL, static_cast<double>(NAN))

}  // namespace std
