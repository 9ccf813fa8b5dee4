// The transforms of Winograd's method for 3 x 3 filters (Lavin and Gray, "Fast algorithms for
// convolutional neural networks", 2016, F(4 x 4, 3 x 3)):
//
//     y = A' [(G w G') * (B' d B)] A        gw = G' [(B' d B) * (A g A')] G
//
// for tiles of 4 x 4 output pixels and the 6 x 6 input pixels d under them. Summed over channels,
// or tiles, the products * of the 36 numbers of transforms are products of matrices; the transforms
// of a tile lie together, v[tile][p][channel], so that these are a convolution with filters of one
// pixel and with 36 groups. conv.cu computes it, in a quarter of the multiplications.
//
// A thread transforms a tile's numbers of one channel, in registers; neighbouring threads have
// neighbouring channels, so that each of its loads and stores is a part of a whole line.
//
// Definitions: T, float or double.
//
// expect: registers <= 80 if T == float
#include "minigrad.cuh"
#include "windows.cuh"

constexpr int P = 36;

// Transforms of a column
//
// The polynomials behind the method are multiplied at the points 0, a, -a, b, -b and infinity, with
// a = sqrt(1/2) and b = sqrt(2). With the usual 1 and 2 numbers grow to 8 times the result, and
// more digits are lost: the largest errors, in float, were five times as large. (Barabasz et
// al., "Error analysis and improving the accuracy of Winograd convolution for deep neural
// networks", 2020, is about such choices.)

constexpr T B = T(1.41421356237309504880), A = B / 2;

// B' d
__device__ __forceinline__ void transform_image(const T (&d)[6], T (&v)[6]) {
  T even_a = d[4] - 2 * d[2], odd_a = A * (d[3] - 2 * d[1]);
  T even_b = d[4] - d[2] / 2, odd_b = B * (d[3] - d[1] / 2);
  v[0] = d[0] - T(2.5) * d[2] + d[4];
  v[1] = even_a + odd_a;
  v[2] = even_a - odd_a;
  v[3] = even_b + odd_b;
  v[4] = even_b - odd_b;
  v[5] = d[1] - T(2.5) * d[3] + d[5];
}

// A' m
__device__ __forceinline__ void transform_result(const T (&m)[6], T (&y)[4]) {
  T even_a = m[1] + m[2], odd_a = A * (m[1] - m[2]);
  T even_b = m[3] + m[4], odd_b = B * (m[3] - m[4]);
  y[0] = m[0] + even_a + even_b;
  y[1] = odd_a + odd_b;
  y[2] = even_a / 2 + 2 * even_b;
  y[3] = odd_a / 2 + 2 * odd_b + m[5];
}

// A g
__device__ __forceinline__ void transform_gradient(const T (&g)[4], T (&e)[6]) {
  T even_a = g[0] + g[2] / 2, odd_a = A * (g[1] + g[3] / 2);
  T even_b = g[0] + 2 * g[2], odd_b = B * (g[1] + 2 * g[3]);
  e[0] = g[0];
  e[1] = even_a + odd_a;
  e[2] = even_a - odd_a;
  e[3] = even_b + odd_b;
  e[4] = even_b - odd_b;
  e[5] = g[3];
}

// G w
__device__ __forceinline__ void transform_filter(const T (&w)[3], T (&u)[6]) {
  T even_a = w[0] + w[2] / 2, even_b = w[0] + 2 * w[2];
  u[0] = w[0];
  u[1] = (even_a + A * w[1]) * T(-2.0 / 3);
  u[2] = (even_a - A * w[1]) * T(-2.0 / 3);
  u[3] = (even_b + B * w[1]) * T(1.0 / 6);
  u[4] = (even_b - B * w[1]) * T(1.0 / 6);
  u[5] = w[2];
}

// G' u
__device__ __forceinline__ void transform_filter_gradient(const T (&u)[6], T (&gw)[3]) {
  T even_a = (u[1] + u[2]) * T(-2.0 / 3), odd_a = (u[1] - u[2]) * T(-2.0 / 3);
  T even_b = (u[3] + u[4]) * T(1.0 / 6), odd_b = (u[3] - u[4]) * T(1.0 / 6);
  gw[0] = u[0] + even_a + even_b;
  gw[1] = A * odd_a + B * odd_b;
  gw[2] = even_a / 2 + 2 * even_b + u[5];
}

// A matrix from both sides: first its columns, then the rows of the result.
template <int IN, int OUT>
__device__ __forceinline__ void transform_both(void (&transform)(const T (&)[IN], T (&)[OUT]),
                                               const T (&from)[IN][IN], T (&to)[OUT][OUT]) {
  T half_way[OUT][IN];
#pragma unroll
  for (int j = 0; j < IN; j++) {
    T column[IN], transformed[OUT];
#pragma unroll
    for (int i = 0; i < IN; i++) column[i] = from[i][j];
    transform(column, transformed);
#pragma unroll
    for (int i = 0; i < OUT; i++) half_way[i][j] = transformed[i];
  }
#pragma unroll
  for (int i = 0; i < OUT; i++) transform(half_way[i], to[i]);
}

// Tiles of images

// Tile `number` of all, row by row: its image and first output pixel.
struct TilePlace {
  int image, row, column;

  __device__ __forceinline__ TilePlace(int number, int height, int width) {
    int across = (width + 3) / 4, down = (height + 3) / 4;
    column = number % across * 4;
    row = number / across % down * 4;
    image = number / across / down;
  }
};

// Load SIZE x SIZE pixels from (top, left), zeros where there are none.
template <int SIZE>
__device__ __forceinline__ void load_tile(const T* x, int image, int top, int left, int height,
                                          int width, int channels, int channel,
                                          T (&tile)[SIZE][SIZE]) {
#pragma unroll
  for (int i = 0; i < SIZE; i++) {
    int64 line = (static_cast<int64>(image) * height + top + i) * width;
#pragma unroll
    for (int j = 0; j < SIZE; j++) {
      bool there = inside(top + i, height) && inside(left + j, width);
      tile[i][j] = there ? x[(line + left + j) * channels + channel] : T(0);
    }
  }
}

__device__ __forceinline__ void store_transform(const T (&v)[6][6], T* to, int channels) {
#pragma unroll
  for (int p = 0; p < P; p++) to[static_cast<int64>(p) * channels] = v[p / 6][p % 6];
}

// v[tile][p][c] = (B' d B)[p] of the 6 x 6 pixels that begin `above` and `beside` before the tile's
// output pixels. A thread transforms a channel of a tile at a time.
extern "C" __global__ void __launch_bounds__(256)
    transform_images(const T* __restrict__ x, T* __restrict__ v, unsigned tasks, int channels,
                     int height, int width, int out_height, int out_width, int above, int beside) {
  for (unsigned task = blockIdx.x * blockDim.x + threadIdx.x; task < tasks;
       task += gridDim.x * blockDim.x) {
    int channel = task % channels, number = task / channels;
    TilePlace at(number, out_height, out_width);
    T d[6][6], transformed[6][6];
    load_tile(x, at.image, at.row - above, at.column - beside, height, width, channels, channel, d);
    transform_both(transform_image, d, transformed);
    store_transform(transformed, v + static_cast<int64>(number) * P * channels + channel, channels);
  }
}

// e[tile][p][k] = (A g A')[p] of the tile's 4 x 4 pixels. A thread transforms a channel of a tile
// at a time.
extern "C" __global__ void __launch_bounds__(256)
    transform_gradients(const T* __restrict__ g, T* __restrict__ e, unsigned tasks, int channels,
                        int height, int width) {
  for (unsigned task = blockIdx.x * blockDim.x + threadIdx.x; task < tasks;
       task += gridDim.x * blockDim.x) {
    int channel = task % channels, number = task / channels;
    TilePlace at(number, height, width);
    T tile[4][4], transformed[6][6];
    load_tile(g, at.image, at.row, at.column, height, width, channels, channel, tile);
    transform_both(transform_gradient, tile, transformed);
    store_transform(transformed, e + static_cast<int64>(number) * P * channels + channel, channels);
  }
}

// u[p][c][k] = (G w G')[p], in matrices of terms by columns that are filled up with zeros. Strides
// say where w has filter k, channel c, and the taps. A thread transforms one filter of a channel at
// a time.
extern "C" __global__ void __launch_bounds__(256)
    transform_filters(const T* __restrict__ w, T* __restrict__ u, int terms, int columns,
                      int channels, int filters, int64 offset, int64 filter_stride,
                      int64 channel_stride, int64 row_stride, int64 tap_stride) {
  int64 size = static_cast<int64>(terms) * columns;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
    int filter = i % columns, channel = i / columns;
    bool there = filter < filters && channel < channels;
    const T* from = w + offset + filter * filter_stride + channel * channel_stride;
    T taps[3][3], transformed[6][6];
#pragma unroll
    for (int r = 0; r < 3; r++) {
#pragma unroll
      for (int s = 0; s < 3; s++) {
        taps[r][s] = there ? from[r * row_stride + s * tap_stride] : T(0);
      }
    }
    transform_both(transform_filter, taps, transformed);
#pragma unroll
    for (int p = 0; p < P; p++) u[p * size + i] = transformed[p / 6][p % 6];
  }
}

__device__ __forceinline__ bool is_finite(T x) { return x - x == 0; }

// y = bias + A' m A, for every tile: m[tile][p][k], y channels last. A thread transforms a channel
// of a tile at a time.
//
// A number that is not finite spreads over its tile, and products may be too large where their sum
// is not. What is not finite is therefore computed again as it is defined, of x and w; where
// `only_inside`, without the taps outside of the image, which else are zeros.
extern "C" __global__ void __launch_bounds__(256)
    transform_results(const T* __restrict__ m, const T* __restrict__ bias, T* __restrict__ y,
                      unsigned tasks, int filters, int out_height, int out_width,
                      const T* __restrict__ x, const T* __restrict__ w, int channels, int height,
                      int width, int above, int beside, int only_inside, int64 offset,
                      int64 filter_stride, int64 channel_stride, int64 row_stride,
                      int64 tap_stride) {
  for (unsigned task = blockIdx.x * blockDim.x + threadIdx.x; task < tasks;
       task += gridDim.x * blockDim.x) {
    int filter = task % filters, number = task / filters;
    TilePlace at(number, out_height, out_width);
    const T* from = m + static_cast<int64>(number) * P * filters + filter;
    T products[6][6], tile[4][4];
#pragma unroll
    for (int p = 0; p < P; p++) products[p / 6][p % 6] = from[static_cast<int64>(p) * filters];
    transform_both(transform_result, products, tile);
    T start = bias ? bias[filter] : T(0);
    bool finite = true;
    int64 first = (static_cast<int64>(at.image) * out_height + at.row) * out_width + at.column;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (at.row + i >= out_height || at.column + j >= out_width) continue;
        y[(first + i * out_width + j) * filters + filter] = tile[i][j] + start;
        finite = finite && is_finite(tile[i][j]);
      }
    }
    if (finite) continue;
    const T* weights = w + offset + filter * filter_stride;
#pragma unroll 1
    for (int place = 0; place < 16; place++) {
      int row = at.row + place / 4, column = at.column + place % 4;
      if (row >= out_height || column >= out_width) continue;
      T sum = start;
#pragma unroll 1
      for (int tap = 0; tap < 9; tap++) {
        int z = column - beside + tap % 3, line = row - above + tap / 3;
        bool there = inside(line, height) && inside(z, width);
        if (only_inside && !there) continue;
        int64 pixel = (static_cast<int64>(at.image) * height + line) * width + z;
        const T* weight = weights + tap / 3 * row_stride + tap % 3 * tap_stride;
#pragma unroll 1
        for (int c = 0; c < channels; c++) {
          sum += (there ? x[pixel * channels + c] : T(0)) * weight[c * channel_stride];
        }
      }
      y[(first + place / 4 * out_width + place % 4) * filters + filter] = sum;
    }
  }
}

// gw[k][c] = G' u G, where u[p][k][c] is the sum of parts[part][p][k][c], in order. A thread
// transforms one filter's channel.
//
// What is not finite is computed again as it is defined, as above, by the threads of the block
// together: the sum of g[pixel, k] * x[pixel + tap, c] over the pixels.
extern "C" __global__ void __launch_bounds__(128)
    filter_gradient(const T* __restrict__ parts, T* __restrict__ gw, int part_count, int filters,
                    int channels, const T* __restrict__ x, const T* __restrict__ g, int images,
                    int height, int width, int out_height, int out_width, int above, int beside) {
  __shared__ bool wrong[128];
  int size = filters * channels, first = blockIdx.x * 128, i = first + threadIdx.x;
  bool finite = true;
  if (i < size) {
    T u[6][6], taps[3][3];
#pragma unroll
    for (int p = 0; p < P; p++) {
      T sum = 0;
      for (int part = 0; part < part_count; part++) {
        sum += parts[(static_cast<int64>(part) * P + p) * size + i];
      }
      u[p / 6][p % 6] = sum;
    }
    transform_both(transform_filter_gradient, u, taps);
#pragma unroll
    for (int t = 0; t < 9; t++) {
      gw[static_cast<int64>(i) * 9 + t] = taps[t / 3][t % 3];
      finite = finite && is_finite(taps[t / 3][t % 3]);
    }
  }
  wrong[threadIdx.x] = !finite;
  if (!__syncthreads_or(!finite)) return;
  int windows = images * out_height * out_width;
#pragma unroll 1
  for (int again = 0; again < 128; again++) {
    if (!wrong[again]) continue;
    int filter = (first + again) / channels, channel = (first + again) % channels;
#pragma unroll 1
    for (int tap = 0; tap < 9; tap++) {
      T sum = 0;
#pragma unroll 1
      for (int p = threadIdx.x; p < windows; p += 128) {
        int line = p / out_width % out_height - above + tap / 3;
        int z = p % out_width - beside + tap % 3, image = p / out_width / out_height;
        bool there = inside(line, height) && inside(z, width);
        int64 pixel = (static_cast<int64>(image) * height + line) * width + z;
        sum += (there ? x[pixel * channels + channel] : T(0)) *
               g[static_cast<int64>(p) * filters + filter];
      }
      sum = block_sum(sum);
      if (threadIdx.x == 0) gw[static_cast<int64>(first + again) * 9 + tap] = sum;
    }
  }
}
