// From images whose channels come first to such whose channels come last.
//
// Definitions: T, the type of the numbers.
#include "minigrad.cuh"
#include "half.cuh"

constexpr int TILE = 32;
constexpr int LINES = 8;  // rows of a tile that a block moves at once

// y[image, pixel, channel] = x[image, channel, pixel]. A block of 32 by 8 threads moves tiles of 32
// channels by 32 pixels through shared memory, so that it reads and writes whole lines; rows there
// are one longer than the tile, for a column's numbers to lie in 32 banks.
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
