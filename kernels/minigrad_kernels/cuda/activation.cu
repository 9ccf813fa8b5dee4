// Activation functions and the gradients that they carry back: one read of each input, one write.
//
// Every kernel is `map` of elementwise.cuh with a function of single numbers; what its blocks and
// threads do is said there. It is computed in REAL, halves therefore in float.
//
// Definitions: T, the type of the numbers; REAL, the type to compute in.
//
// expect: LDG.128 STG.128
// expect: registers <= 64
#include "elementwise.cuh"
#include "half.cuh"

// Functions by one name for both precisions

__device__ __forceinline__ float exponential_less_1(float x) { return expm1f(x); }
__device__ __forceinline__ double exponential_less_1(double x) { return expm1(x); }
__device__ __forceinline__ float logarithm_1_plus(float x) { return log1pf(x); }
__device__ __forceinline__ double logarithm_1_plus(double x) { return log1p(x); }
__device__ __forceinline__ float tangent(float x) { return tanhf(x); }
__device__ __forceinline__ double tangent(double x) { return tanh(x); }
__device__ __forceinline__ float size_of(float x) { return fabsf(x); }
__device__ __forceinline__ double size_of(double x) { return fabs(x); }

// P(Z < x) for a standard normal Z. The complement of the error function keeps the digits of small
// results, which 1 + erf(x / sqrt 2) would cancel.
__device__ __forceinline__ float normal_below(float x) { return 0.5f * erfcf(x * -0.70710678f); }
__device__ __forceinline__ double normal_below(double x) {
  return 0.5 * erfc(x * -0.70710678118654752);
}

// Where exp overflows, its infinity gives the right limit, 0.
__device__ __forceinline__ REAL logistic(REAL x) { return 1 / (1 + exponential(-x)); }

// x within [-40, 40]; NaN stays NaN. Beyond, all that is computed from it is 0 or 1 in every type,
// and squares must not overflow.
__device__ __forceinline__ REAL within_40(REAL x) { return x < -40 ? -40 : x > 40 ? 40 : x; }

// Kinked at 0

// max(x, 0); NaN stays NaN.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    relu(const T* x, T* y, int64 size, int64 packs) {
  map(size, packs, [](REAL x) { return x <= 0 ? REAL(0) : x; }, y, x);
}

// g where the output y is not 0, else 0: whatever g is there, infinite or NaN.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    relu_gradient(const T* g, const T* y, T* gx, int64 size, int64 packs) {
  map(size, packs, [](REAL g, REAL y) { return y <= 0 ? REAL(0) : g; }, gx, g, y);
}

// x where it is positive, else slope x.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    leaky_relu(const T* x, T* y, REAL slope, int64 size, int64 packs) {
  map(size, packs, [=](REAL x) { return x > 0 ? x : x * slope; }, y, x);
}

// g where x is positive, else slope g.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    leaky_relu_gradient(const T* g, const T* x, T* gx, REAL slope, int64 size, int64 packs) {
  map(size, packs, [=](REAL g, REAL x) { return x > 0 ? g : g * slope; }, gx, g, x);
}

// x where it is positive, else alpha (exp(x) - 1).
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    elu(const T* x, T* y, REAL alpha, int64 size, int64 packs) {
  map(size, packs, [=](REAL x) { return x > 0 ? x : alpha * exponential_less_1(x); }, y, x);
}

// g where x is positive, else g alpha exp(x).
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    elu_gradient(const T* g, const T* x, T* gx, REAL alpha, int64 size, int64 packs) {
  map(size, packs, [=](REAL g, REAL x) { return x > 0 ? g : g * (alpha * exponential(x)); }, gx, g,
      x);
}

// S-shaped

// 1 / (1 + exp(-x))
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    sigmoid(const T* x, T* y, int64 size, int64 packs) {
  map(size, packs, [](REAL x) { return logistic(x); }, y, x);
}

// g y (1 - y), where y is the sigmoid.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    sigmoid_gradient(const T* g, const T* y, T* gx, int64 size, int64 packs) {
  map(size, packs, [](REAL g, REAL y) { return g * (y * (1 - y)); }, gx, g, y);
}

// tanh(x). (A kernel cannot have the name of a function of C.)
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    hyperbolic_tangent(const T* x, T* y, int64 size, int64 packs) {
  map(size, packs, [](REAL x) { return tangent(x); }, y, x);
}

// g (1 - y^2), where y is the hyperbolic tangent.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    hyperbolic_tangent_gradient(const T* g, const T* y, T* gx, int64 size, int64 packs) {
  map(size, packs, [](REAL g, REAL y) { return g * (1 - y * y); }, gx, g, y);
}

// Smooth relatives of relu

// x times its sigmoid, as x / (1 + exp(-x)). (The bound asks for two blocks on
// a multiprocessor: without it NVRTC saves registers in the division of doubles, and spills some.)
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS, 2)
    silu(const T* x, T* y, int64 size, int64 packs) {
  map(size, packs, [](REAL x) { return x / (1 + exponential(-x)); }, y, x);
}

// g s (1 + x (1 - s)), where s is the sigmoid of x.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    silu_gradient(const T* g, const T* x, T* gx, int64 size, int64 packs) {
  auto function = [](REAL g, REAL x) {
    REAL s = logistic(x);
    return g * (s * (1 + x * (1 - s)));
  };
  map(size, packs, function, gx, g, x);
}

// log(1 + exp(z)) / beta with z = beta x, and x itself where z exceeds the threshold. As
// max(z, 0) + log(1 + exp(-|z|)) the logarithm cannot overflow.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    softplus(const T* x, T* y, REAL beta, REAL threshold, int64 size, int64 packs) {
  auto function = [=](REAL x) {
    REAL z = x * beta;
    if (z > threshold) return x;
    return (larger(z, 0) + logarithm_1_plus(exponential(-size_of(z)))) / beta;
  };
  map(size, packs, function, y, x);
}

// g times the sigmoid of z = beta x, and g itself where z exceeds the threshold.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    softplus_gradient(const T* g, const T* x, T* gx, REAL beta, REAL threshold, int64 size,
                      int64 packs) {
  auto function = [=](REAL g, REAL x) {
    REAL z = x * beta;
    return z > threshold ? g : g * logistic(z);
  };
  map(size, packs, function, gx, g, x);
}

// x P(Z < x) for a standard normal Z.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    gelu(const T* x, T* y, int64 size, int64 packs) {
  map(size, packs, [](REAL x) { return x * normal_below(x); }, y, x);
}

// g (P(Z < x) + x p(x)), where p is the density of Z.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    gelu_gradient(const T* g, const T* x, T* gx, int64 size, int64 packs) {
  auto function = [](REAL g, REAL x) {
    const REAL peak = REAL(0.39894228040143268);  // 1 / sqrt(2 pi)
    REAL z = within_40(x);
    return g * (normal_below(x) + z * (exponential(REAL(-0.5) * z * z) * peak));
  };
  map(size, packs, function, gx, g, x);
}

// The approximation of gelu: (1 + tanh u) / 2 in the place of P(Z < x), which is the sigmoid of 2u
// without the cancellation of 1 and tanh u.
constexpr REAL TANH_FACTOR = REAL(0.79788456080286536);  // sqrt(2 / pi)
constexpr REAL TANH_CUBE = REAL(0.044715);

__device__ __forceinline__ REAL tanh_argument(REAL x) {
  return TANH_FACTOR * x * (1 + TANH_CUBE * (x * x));
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    gelu_by_tanh(const T* x, T* y, int64 size, int64 packs) {
  map(size, packs, [](REAL x) { return x * logistic(2 * tanh_argument(within_40(x))); }, y, x);
}

// g (s + 2 x s (1 - s) u'), where s is the sigmoid of 2u.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    gelu_by_tanh_gradient(const T* g, const T* x, T* gx, int64 size, int64 packs) {
  auto function = [](REAL g, REAL x) {
    REAL z = within_40(x);
    REAL s = logistic(2 * tanh_argument(z));
    REAL slope = TANH_FACTOR * (1 + 3 * TANH_CUBE * (z * z));
    return g * (s + 2 * z * s * (1 - s) * slope);
  };
  map(size, packs, function, gx, g, x);
}
