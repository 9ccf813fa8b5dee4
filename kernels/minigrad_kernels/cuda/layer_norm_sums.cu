// The gradients of layer norm's weight and bias: sums over all rows, column by column, as
// include/channels.cuh goes through columns.
//
// Definitions: T, the type of the numbers; TOTAL, the type that they are summed in, that of mean
// and variance; WIDTH, how many numbers a load has; LAYOUT, a class of channels.cuh.
//
// expect: LDG.128 if WIDTH > 1
// expect: registers <= 96
#include "channels.cuh"
#include "half.cuh"

using Total = TOTAL;
constexpr int OWN = LAYOUT::OWN;

// What a thread has summed of g x^ and of g for its columns.
struct ColumnSums {
  const T *g, *x;
  const Total *means, *vars;
  Total eps;
  int64 length;
  Total of_products[OWN], of_g[OWN];

  template <int LOADS>
  __device__ __forceinline__ void operator()(const int64 (&at)[LOADS]) {
    Pack<T, WIDTH> gs[LOADS], xs[LOADS];
    Total mean[LOADS], scale[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      gs[i] = load_pack<WIDTH>(g + at[i]);
      xs[i] = load_pack<WIDTH>(x + at[i]);
      int64 row = quotient(at[i], length);
      mean[i] = means[row];
      scale[i] = reciprocal_root(vars[row] + eps);
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) {
        int own = LAYOUT::own(j);
        Total number = Total(gs[i].at[j]);
        of_products[own] += number * ((Total(xs[i].at[j]) - mean[i]) * scale[i]);
        of_g[own] += number;
      }
    }
  }
};

// dw (outputs, parts), db (outputs, parts): the sums of parts of columns, which a column of threads
// has. With one column there are no columns to be had side by side: then a row is one number, whose
// normalised value is 0, and all of g is a plane.
extern "C" __global__ void __launch_bounds__(LAYOUT::BLOCK)
    column_sums(const T* __restrict__ g, const T* __restrict__ x, const TOTAL* __restrict__ means,
                const TOTAL* __restrict__ vars, TOTAL* __restrict__ dw, TOTAL* __restrict__ db,
                TOTAL eps, int64 length, int64 rows, int64 channels, int64 inner, int64 outputs,
                int64 parts) {
  LAYOUT way(rows, channels, inner, outputs, parts);
  ColumnSums sums = {g, x, means, vars, eps, length, {}, {}};
  way.visit(sums);
#pragma unroll
  for (int j = 0; j < OWN; j++) {
    Total of_products = team_sum<LAYOUT>(sums.of_products[j]);
    Total of_g = team_sum<LAYOUT>(sums.of_g[j]);
    if (!way.leads()) continue;
    int64 place = way.output(j) * parts + way.part();
    dw[place] = of_products;
    db[place] = of_g;
  }
}
