// Layer norm over rows, and the gradient of its input. (Those of weight and bias are sums over
// columns: layer_norm_sums.cu, and all three in one pass: layer_norm_gradients.cu.)
//
// A row belongs to a team: lanes of a warp if it is short, a block if it is long. It is read once
// for its sums, and once more, from a cache, to compute the result; so memory sees each number
// once.
//
// Definitions: T, the type of the numbers; TOTAL, the type that they are summed in, that of mean
// and variance; WIDTH, how many numbers a load has; TEAM, a class of team.cuh.
//
// expect: LDG.128 STG.128 if WIDTH > 1
// expect: registers <= 64
#include "team.cuh"
#include "moments.cuh"
#include "half.cuh"

using Total = TOTAL;
using Numbers = Pack<T, WIDTH>;
constexpr unsigned STEP = TEAM::SIZE * WIDTH;

__device__ __forceinline__ Total reciprocal_deviation(Total var, Total eps) {
  return reciprocal_root(var + eps);
}

// The mean and squared deviations of a row: the same in all members of its team. Four loads are
// under way at once as long as there are four.
__device__ __forceinline__ Moments<Total> row_moments(const T* x, unsigned length) {
  Moments<Total> own;
  unsigned i = TEAM::member() * WIDTH;
  for (; i + 3 * STEP < length; i += 4 * STEP) {
    Total numbers[4 * WIDTH];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      Numbers pack = load_pack<WIDTH>(x + i + k * STEP);
#pragma unroll
      for (int j = 0; j < WIDTH; j++) numbers[k * WIDTH + j] = Total(pack.at[j]);
    }
    own.absorb(numbers, own.share(4 * WIDTH));
  }
  for (; i < length; i += STEP) {
    Numbers pack = load_pack<WIDTH>(x + i);
    Total numbers[WIDTH];
#pragma unroll
    for (int j = 0; j < WIDTH; j++) numbers[j] = Total(pack.at[j]);
    own.absorb(numbers, own.share(WIDTH));
  }
  return team_moments<TEAM>(own);
}

// y = (x - mean) / sqrt(var + eps) * weight + bias, and mean and var, for each row. A team computes
// a row; one without a row comes along to the sums of its warp with an empty one. y may be x.
extern "C" __global__ void __launch_bounds__(TEAM::BLOCK)
    layer_norm(const T* x, T* y, TOTAL* __restrict__ means, TOTAL* __restrict__ vars,
               const T* __restrict__ weight, const T* __restrict__ bias, TOTAL eps,
               unsigned length, int64 rows) {
  int64 row = TEAM::number();
  if (row >= rows) row = 0, length = 0;
  x += row * length;
  y += row * length;
  Moments<Total> all = row_moments(x, length);
  Total var = about(all.squares, all.count), scale = reciprocal_deviation(var, eps);
  if (TEAM::member() == 0 && length > 0) {
    means[row] = all.mean;
    vars[row] = var;
  }
#pragma unroll 4
  for (unsigned i = TEAM::member() * WIDTH; i < length; i += STEP) {
    Numbers pack = load_pack<WIDTH>(x + i), weights, biases;
    if (weight) weights = load_pack<WIDTH>(weight + i);
    if (bias) biases = load_pack<WIDTH>(bias + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      Total number = (Total(pack.at[j]) - all.mean) * scale;
      if (weight) number *= Total(weights.at[j]);
      if (bias) number += Total(biases.at[j]);
      pack.at[j] = T(number);
    }
    store_pack<WIDTH>(y + i, pack);
  }
}

// g weight, or g where there is no weight: the gradient of the normalised row.
__device__ __forceinline__ void weigh(Total (&u)[WIDTH], const Numbers& g, const T* weight,
                                      unsigned i) {
#pragma unroll
  for (int j = 0; j < WIDTH; j++) u[j] = Total(g.at[j]);
  if (!weight) return;
  Numbers weights = load_pack<WIDTH>(weight + i);
#pragma unroll
  for (int j = 0; j < WIDTH; j++) u[j] *= Total(weights.at[j]);
}

// dx = (u - mean(u) - x^ mean(u x^)) / s with u = g weight and x^ = (x - mean) / s, for each row. A
// team computes a row; one without a row comes along with an empty one. dx may be g or x.
extern "C" __global__ void __launch_bounds__(TEAM::BLOCK)
    layer_norm_input_gradient(const T* g, const T* x, T* dx, const T* __restrict__ weight,
                              const TOTAL* __restrict__ means, const TOTAL* __restrict__ vars,
                              TOTAL eps, unsigned length, int64 rows) {
  int64 row = TEAM::number();
  if (row >= rows) row = 0, length = 0;
  g += row * length;
  x += row * length;
  dx += row * length;
  Total mean = means[row], scale = reciprocal_deviation(vars[row], eps);
  Total of_u = 0, of_products = 0;
#pragma unroll 4
  for (unsigned i = TEAM::member() * WIDTH; i < length; i += STEP) {
    Numbers gs = load_pack<WIDTH>(g + i), xs = load_pack<WIDTH>(x + i);
    Total u[WIDTH];
    weigh(u, gs, weight, i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      of_u += u[j];
      of_products += u[j] * ((Total(xs.at[j]) - mean) * scale);
    }
  }
  of_u = about(team_sum<TEAM>(of_u), Total(length));
  of_products = about(team_sum<TEAM>(of_products), Total(length));
#pragma unroll 4
  for (unsigned i = TEAM::member() * WIDTH; i < length; i += STEP) {
    Numbers gs = load_pack<WIDTH>(g + i), xs = load_pack<WIDTH>(x + i);
    Total u[WIDTH];
    weigh(u, gs, weight, i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      Total normalized = (Total(xs.at[j]) - mean) * scale;
      gs.at[j] = T((u[j] - of_u - normalized * of_products) * scale);
    }
    store_pack<WIDTH>(dx + i, gs);
  }
}
