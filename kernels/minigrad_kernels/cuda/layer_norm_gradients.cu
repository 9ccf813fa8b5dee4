// All gradients of layer norm in one pass over memory, for rows that a block can hold in registers.
//
// The gradient of the input needs sums along rows, those of weight and bias sums down columns. A
// block takes one row after the other; each of its threads has the same columns of all of them, so
// that sums down columns stay in its registers until the last row. What the blocks have found is an
// array (blocks, 2, length), whose columns are summed by reduce.cu: in a fixed order.
//
// Definitions: T, the type of the numbers; TOTAL, the type that they are summed in, that of mean
// and variance; WIDTH, how many numbers a load has; PACKS, how many loads a thread has of a row.
//
// expect: LDG.128 STG.128 if WIDTH > 1
// expect: registers <= 128
#include "team.cuh"
#include "half.cuh"

using Total = TOTAL;
using Numbers = Pack<T, WIDTH>;

// Two sums that go through the block together: at half the barriers.
struct RowSums {
  Total of_u, of_products;
  static __device__ __forceinline__ RowSums neutral() { return {0, 0}; }
  static __device__ __forceinline__ RowSums combine(RowSums a, RowSums b) {
    return {a.of_u + b.of_u, a.of_products + b.of_products};
  }
};
__device__ __forceinline__ RowSums from_lane_xor(RowSums sums, int bits) {
  return {from_lane_xor(sums.of_u, bits), from_lane_xor(sums.of_products, bits)};
}

// Where a thread's pack number k of a row begins.
__device__ __forceinline__ unsigned column(int k) {
  return (k * blockDim.x + threadIdx.x) * WIDTH;
}

// What a thread has of a row: g, and the normalised x.
struct RowPart {
  Numbers gs[PACKS];
  Total normalized[PACKS][WIDTH];

  __device__ __forceinline__ void load(const T* g, const T* x, Total mean, Total scale,
                                       unsigned length) {
    Numbers xs[PACKS];
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
      if (column(k) >= length) continue;
      gs[k] = load_pack<WIDTH>(g + column(k));
      xs[k] = load_pack<WIDTH>(x + column(k));
    }
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) {
        bool there = column(k) < length;
        if (!there) gs[k].at[j] = T(0.0f);
        normalized[k][j] = there ? (Total(xs[k].at[j]) - mean) * scale : Total(0);
      }
    }
  }
};

// dx as in layer_norm.cu, and sums (gridDim.x, 2, length) of g x^ and of g over the rows that each
// block has: every gridDim.x-th. dx may be g or x.
extern "C" __global__ void __launch_bounds__(256, 2)
    layer_norm_gradients(const T* g, const T* x, T* dx, const T* __restrict__ weight,
                         const TOTAL* __restrict__ means, const TOTAL* __restrict__ vars,
                         TOTAL* __restrict__ sums, TOTAL eps, unsigned length, int64 rows) {
  Total weights[PACKS][WIDTH], dw[PACKS][WIDTH] = {}, db[PACKS][WIDTH] = {};
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      bool there = weight && column(k) < length;
      weights[k][j] = there ? Total(weight[column(k) + j]) : Total(1);
    }
  }
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    Total scale = reciprocal_root(vars[row] + eps);
    RowPart part;
    part.load(g + row * length, x + row * length, means[row], scale, length);
    RowSums own = {0, 0};
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) {
        Total number = Total(part.gs[k].at[j]), product = number * part.normalized[k][j];
        dw[k][j] += product;
        db[k][j] += number;
        own.of_u += number * weights[k][j];
        own.of_products += product * weights[k][j];
      }
    }
    RowSums all = block_reduce<RowSums>(own);
    all.of_u = about(all.of_u, Total(length));
    all.of_products = about(all.of_products, Total(length));
#pragma unroll
    for (int k = 0; k < PACKS; k++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) {
        Total u = Total(part.gs[k].at[j]) * weights[k][j];
        part.gs[k].at[j] = T((u - all.of_u - part.normalized[k][j] * all.of_products) * scale);
      }
      if (column(k) < length) store_pack<WIDTH>(dx + row * length + column(k), part.gs[k]);
    }
  }
  sums += blockIdx.x * 2 * static_cast<int64>(length);
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    if (column(k) >= length) continue;
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      sums[column(k) + j] = dw[k][j];
      sums[length + column(k) + j] = db[k][j];
    }
  }
}
