// What comes before and after the products of a convolution: images and filters in the order in
// which products want them, and sums of the products' parts.
//
// Numbers are loaded one by one: what lies side by side in one order does not in the other. So that
// their loads are waited for by many threads, these have few registers.
//
// Definitions: T, the type of the numbers; TOTAL, that of their sums.
//
// expect: registers <= 40
#include "minigrad.cuh"
#include "half.cuh"
#include "mma.cuh"

constexpr int TILE = 32;
constexpr int LINES = 8;  // rows of a tile that a block moves at once

// y[image, pixel, channel] = x[image, channel, pixel]. A block of 32 by 8 threads moves tiles of 32
// channels by 32 pixels through shared memory, so that it reads and writes whole lines; rows there
// are one longer than the tile, for a column's numbers to lie in 32 banks.
// expect: LDS STS
extern "C" __global__ void __launch_bounds__(256)
    channels_to_last(const T* __restrict__ x, T* __restrict__ y, int channels, int pixels,
                     int64 tiles) {
  __shared__ T tile[TILE][TILE + 1];
  int across = (pixels + TILE - 1) / TILE, down = (channels + TILE - 1) / TILE;
  for (int64 t = blockIdx.x; t < tiles; t += gridDim.x) {
    int first_pixel = static_cast<int>(t % across) * TILE;
    int first_channel = static_cast<int>(t / across % down) * TILE;
    int64 image = t / across / down * channels * static_cast<int64>(pixels);
    for (int i = threadIdx.y; i < TILE; i += LINES) {
      int channel = first_channel + i, pixel = first_pixel + threadIdx.x;
      if (channel < channels && pixel < pixels) {
        tile[i][threadIdx.x] = x[image + static_cast<int64>(channel) * pixels + pixel];
      }
    }
    __syncthreads();
    for (int i = threadIdx.y; i < TILE; i += LINES) {
      int channel = first_channel + threadIdx.x, pixel = first_pixel + i;
      if (channel < channels && pixel < pixels) {
        y[image + static_cast<int64>(pixel) * channels + channel] = tile[threadIdx.x][i];
      }
    }
    __syncthreads();
  }
}

__device__ __forceinline__ float in_tf32(float x) { return __uint_as_float(to_tf32(x)); }
__device__ __forceinline__ double in_tf32(double x) { return x; }
__device__ __forceinline__ half in_tf32(half x) { return x; }

// The filters as a matrix for each group, packed[group][term][column], or [group][column][term] for
// tensor cores, which also want floats rounded to TF32. Its sizes are filled up with zeros to those
// of whole tiles, so that products need not look where they end. A thread writes one number at a
// time; the strides say where in w it lies.
extern "C" __global__ void __launch_bounds__(256)
    pack_filters(const T* __restrict__ w, T* __restrict__ packed, int groups, int packed_terms,
                 int packed_columns, int terms, int columns, int channels, int tap_columns,
                 int for_tensor_cores, int64 offset, int64 group_stride, int64 column_stride,
                 int64 channel_stride, int64 row_stride, int64 tap_stride) {
  int64 size = static_cast<int64>(groups) * packed_terms * packed_columns;
  int64 threads = static_cast<int64>(gridDim.x) * blockDim.x;
  for (int64 at = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; at < size;
       at += threads) {
    int last = for_tensor_cores ? packed_terms : packed_columns;
    int before = for_tensor_cores ? packed_columns : packed_terms;
    int i = static_cast<int>(at / last % before), j = static_cast<int>(at % last);
    int term = for_tensor_cores ? j : i, column = for_tensor_cores ? i : j;
    int64 group = at / last / before;
    int channel = term % channels, tap = term / channels;
    int64 from = offset + group * group_stride + column * column_stride +
                 channel * channel_stride + tap / tap_columns * row_stride +
                 tap % tap_columns * tap_stride;
    T number = term < terms && column < columns ? w[from] : T(0.0f);
    packed[at] = for_tensor_cores ? in_tf32(number) : number;
  }
}

// y[i] = bias[i % filters] + sum over parts of parts[part, i], in order. A thread sums one number
// at a time.
extern "C" __global__ void __launch_bounds__(256)
    add_parts(const TOTAL* __restrict__ parts, const T* __restrict__ bias, T* __restrict__ y,
              int part_count, int64 size, int filters) {
  int64 threads = static_cast<int64>(gridDim.x) * blockDim.x;
  for (int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
       i += threads) {
    TOTAL sum = bias ? TOTAL(bias[i % filters]) : TOTAL(0);
#pragma unroll 4
    for (int part = 0; part < part_count; part++) sum += parts[part * size + i];
    y[i] = T(sum);
  }
}

// gw[filter, channel, tap] = sum over parts of parts[part, filter, tap, channel], in order. A
// thread sums one number at a time; those of neighbours lie together in the parts.
extern "C" __global__ void __launch_bounds__(256)
    add_filter_parts(const TOTAL* __restrict__ parts, T* __restrict__ gw, int part_count,
                     int filters, int taps, int per_group) {
  int64 terms = static_cast<int64>(taps) * per_group, size = filters * terms;
  int64 threads = static_cast<int64>(gridDim.x) * blockDim.x;
  for (int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
       i += threads) {
    TOTAL sum = 0;
#pragma unroll 4
    for (int part = 0; part < part_count; part++) sum += parts[part * size + i];
    int64 filter = i / terms, tap = i % terms / per_group, channel = i % per_group;
    gw[(filter * per_group + channel) * taps + tap] = T(sum);
  }
}
