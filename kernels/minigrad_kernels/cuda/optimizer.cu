// Steps of optimizers, each one launch that reads and writes every array once, and scaling.
//
// The formulas and the order of their operations are those of `minigrad_kernels.optimizer`. Outputs
// may be the inputs: memory is gone through as elementwise.cuh says, a thread reading all arrays at
// a place before it writes there. A step of Adam has four loads of 16 bytes under way in a thread.
//
// Every step is there twice. One takes the numbers of its formula as arguments; the other, whose
// name ends in `replayable`, reads them, in the same order, from memory, where each replay of a CUDA
// graph finds others (see optimizer_numbers.cu). They compute the same bits.
//
// Definitions: T, the type of the numbers; REAL, the type to compute in.
//
// expect: LDG.128 STG.128
// expect: registers <= 64 from sm_80
// expect: registers <= 72
#include "elementwise.cuh"
#include "half.cuh"

constexpr int WIDTH = 16 / sizeof(T);

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// The gradient, turned around to maximize (`sign` is -1), with the L2 penalty's. No penalty is
// not one of 0 p, which would spread NaN and infinity.
struct Direction {
  REAL decay, sign;
  __device__ __forceinline__ REAL of(REAL g, REAL p) const {
    REAL d = g * sign;
    return decay == 0 ? d : d + decay * p;
  }
};

// Gradient descent: p - lr d.
struct Descent {
  const T *p, *g;
  T* new_p;
  REAL lr;
  Direction direction;

  template <int COUNT>
  __device__ __forceinline__ void at(int64 i) const {
    auto ps = load_pack<COUNT>(p + i), gs = load_pack<COUNT>(g + i);
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
      REAL x = ps.at[j];
      ps.at[j] = T(x - lr * direction.of(gs.at[j], x));
    }
    store_pack<COUNT>(new_p + i, ps);
  }
};

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    descend(const T* p, const T* g, T* new_p, REAL lr, REAL decay, REAL sign, int64 size,
            int64 packs) {
  for_each<WIDTH>(size, packs, Descent{p, g, new_p, lr, {decay, sign}});
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    descend_replayable(const T* p, const T* g, T* new_p, const REAL* numbers, int64 size,
                       int64 packs) {
  Descent step{p, g, new_p, numbers[0], {numbers[1], numbers[2]}};
  for_each<WIDTH>(size, packs, step);
}

// With momentum: b = kept b + taken d, and p - lr b, or p - lr (d + kept b) (Nesterov).
struct Momentum {
  const T *p, *g, *b;
  T *new_p, *new_b;
  REAL lr, kept, taken;
  bool nesterov;
  Direction direction;

  template <int COUNT>
  __device__ __forceinline__ void at(int64 i) const {
    auto ps = load_pack<COUNT>(p + i), gs = load_pack<COUNT>(g + i), bs = load_pack<COUNT>(b + i);
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
      REAL x = ps.at[j], d = direction.of(gs.at[j], x);
      REAL buffer = kept * REAL(bs.at[j]) + taken * d;
      bs.at[j] = T(buffer);
      ps.at[j] = T(x - lr * (nesterov ? d + kept * buffer : buffer));
    }
    store_pack<COUNT>(new_p + i, ps);
    store_pack<COUNT>(new_b + i, bs);
  }
};

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    descend_with_momentum(const T* p, const T* g, const T* b, T* new_p, T* new_b, REAL lr,
                          REAL kept, REAL taken, bool nesterov, REAL decay, REAL sign, int64 size,
                          int64 packs) {
  Momentum step{p, g, b, new_p, new_b, lr, kept, taken, nesterov, {decay, sign}};
  for_each<WIDTH>(size, packs, step);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    descend_with_momentum_replayable(const T* p, const T* g, const T* b, T* new_p, T* new_b,
                                     const REAL* numbers, int64 size, int64 packs) {
  const REAL* n = numbers;
  Momentum step{p, g, b, new_p, new_b, n[0], n[1], n[2], n[3] != 0, {n[4], n[5]}};
  for_each<WIDTH>(size, packs, step);
}

// The numbers of Adam's formulas: running means m = kept1 m + taken1 d and
// v = kept2 v + taken2 d^2, then p shrink - rate m / (sqrt(v) correction + eps).
struct AdamNumbers {
  REAL rate, correction, eps, kept1, taken1, kept2, taken2, shrink;
  Direction direction;

  __device__ __forceinline__ REAL first(REAL m, REAL d) const { return kept1 * m + d * taken1; }
  __device__ __forceinline__ REAL second(REAL v, REAL d) const {
    return kept2 * v + d * d * taken2;
  }
  __device__ __forceinline__ REAL parameter(REAL p, REAL m, REAL v) const {
    return p * shrink - m / (root(v) * correction + eps) * rate;
  }
};

__device__ __forceinline__ AdamNumbers adam_numbers(const REAL* n) {
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], {n[8], n[9]}};
}

struct Adam {
  const T *p, *g, *m, *v;
  T *new_p, *new_m, *new_v;
  AdamNumbers with;

  template <int COUNT>
  __device__ __forceinline__ void at(int64 i) const {
    auto ps = load_pack<COUNT>(p + i), gs = load_pack<COUNT>(g + i);
    auto ms = load_pack<COUNT>(m + i), vs = load_pack<COUNT>(v + i);
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
      REAL d = with.direction.of(gs.at[j], ps.at[j]);
      REAL mean = with.first(ms.at[j], d), square = with.second(vs.at[j], d);
      ms.at[j] = T(mean);
      vs.at[j] = T(square);
      ps.at[j] = T(with.parameter(ps.at[j], mean, square));
    }
    store_pack<COUNT>(new_p + i, ps);
    store_pack<COUNT>(new_m + i, ms);
    store_pack<COUNT>(new_v + i, vs);
  }
};

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    adam(const T* p, const T* g, const T* m, const T* v, T* new_p, T* new_m, T* new_v, REAL rate,
         REAL correction, REAL eps, REAL kept1, REAL taken1, REAL kept2, REAL taken2, REAL shrink,
         REAL decay, REAL sign, int64 size, int64 packs) {
  AdamNumbers with{rate, correction, eps, kept1, taken1, kept2, taken2, shrink, {decay, sign}};
  for_each<WIDTH>(size, packs, Adam{p, g, m, v, new_p, new_m, new_v, with});
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    adam_replayable(const T* p, const T* g, const T* m, const T* v, T* new_p, T* new_m, T* new_v,
                    const REAL* numbers, int64 size, int64 packs) {
  Adam step{p, g, m, v, new_p, new_m, new_v, adam_numbers(numbers)};
  for_each<WIDTH>(size, packs, step);
}

// With the largest v so far in the place of v.
struct AmsGrad {
  const T *p, *g, *m, *v, *largest;
  T *new_p, *new_m, *new_v, *new_largest;
  AdamNumbers with;

  template <int COUNT>
  __device__ __forceinline__ void at(int64 i) const {
    auto ps = load_pack<COUNT>(p + i), gs = load_pack<COUNT>(g + i);
    auto ms = load_pack<COUNT>(m + i), vs = load_pack<COUNT>(v + i);
    auto tops = load_pack<COUNT>(largest + i);
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
      REAL d = with.direction.of(gs.at[j], ps.at[j]);
      REAL mean = with.first(ms.at[j], d), square = with.second(vs.at[j], d);
      REAL top = tops.at[j];
      if (square > top || square != square) top = square;  // NaN stays, as in numpy.maximum
      ms.at[j] = T(mean);
      vs.at[j] = T(square);
      tops.at[j] = T(top);
      ps.at[j] = T(with.parameter(ps.at[j], mean, top));
    }
    store_pack<COUNT>(new_p + i, ps);
    store_pack<COUNT>(new_m + i, ms);
    store_pack<COUNT>(new_v + i, vs);
    store_pack<COUNT>(new_largest + i, tops);
  }
};

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    amsgrad(const T* p, const T* g, const T* m, const T* v, const T* largest, T* new_p, T* new_m,
            T* new_v, T* new_largest, REAL rate, REAL correction, REAL eps, REAL kept1, REAL taken1,
            REAL kept2, REAL taken2, REAL shrink, REAL decay, REAL sign, int64 size, int64 packs) {
  AdamNumbers with{rate, correction, eps, kept1, taken1, kept2, taken2, shrink, {decay, sign}};
  AmsGrad step{p, g, m, v, largest, new_p, new_m, new_v, new_largest, with};
  for_each<WIDTH>(size, packs, step);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    amsgrad_replayable(const T* p, const T* g, const T* m, const T* v, const T* largest, T* new_p,
                       T* new_m, T* new_v, T* new_largest, const REAL* numbers, int64 size,
                       int64 packs) {
  AmsGrad step{p, g, m, v, largest, new_p, new_m, new_v, new_largest, adam_numbers(numbers)};
  for_each<WIDTH>(size, packs, step);
}

// y = factor x
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    scale(const T* x, T* y, REAL factor, int64 size, int64 packs) {
  map(size, packs, [=](REAL x) { return x * factor; }, y, x);
}

// With a factor that was computed on the GPU.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    scale_by(const T* x, T* y, const REAL* factor, int64 size, int64 packs) {
  REAL by = *factor;
  map(size, packs, [=](REAL x) { return x * by; }, y, x);
}
