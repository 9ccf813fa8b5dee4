// Elements of images that indices tell: taken, or added to. Indices count the pixels of a plane.
//
// Definitions: T, the type of the numbers; INDEX, see pool_images.cuh.
//
// expect: registers <= 40
#define WIDTH 1
#include "pool_images.cuh"

// y = the pixels of x at the indices; NaN for an index that is none. A thread has one of them: its
// load goes where the index says, so it cannot be a wide one.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    gather(const T* __restrict__ x, const int64* __restrict__ indices, T* __restrict__ y,
           INDEX images, int channels, int pixels, int outputs) {
  INDEX count = images * outputs * channels;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    INDEX image = item / (static_cast<INDEX>(outputs) * channels), channel = item % channels;
    int64 index = indices[item];
    bool inside = 0 <= index && index < pixels;
    INDEX from = (image * pixels + static_cast<INDEX>(index)) * channels + channel;
    y[item] = inside ? x[from] : T(infinity<Total>() - infinity<Total>());
  }
}

// gx = zeros, and each of g added at its index. A warp has a plane: it adds 32 numbers at a time,
// in their order. Where several have the same index, the first of these lanes adds them all, so
// that each sum has one writer and one order, with no atomic operation. The warps of a block have
// neighbouring planes: where channels lie side by side, they read the same lines of memory. An
// index that is none is passed over.
// expect: MATCH.ANY
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    scatter(const T* __restrict__ g, const int64* __restrict__ indices, T* gx, INDEX images,
            int channels, int pixels, int outputs) {
  __shared__ Total numbers[BLOCK];
  int lane = threadIdx.x % 32, first_lane = threadIdx.x - lane;
  for (INDEX plane = first_item() / 32; plane < images * channels; plane += items_of_grid() / 32) {
    INDEX image = plane / channels, channel = plane % channels;
    T* to = gx + image * pixels * channels + channel;
    INDEX from = image * outputs * channels + channel;
    for (int pixel = lane; pixel < pixels; pixel += 32) {
      to[static_cast<INDEX>(pixel) * channels] = T(0.0f);
    }
    for (int first = 0; first < outputs; first += 32) {
      int output = first + lane;
      INDEX at = from + static_cast<INDEX>(output) * channels;
      int64 index = output < outputs ? indices[at] : -1;
      numbers[threadIdx.x] = output < outputs ? Total(g[at]) : Total(0);
      bool inside = 0 <= index && index < pixels;
      unsigned same = __match_any_sync(FULL_WARP, inside ? static_cast<int>(index) : -1);
      __syncwarp();  // the numbers are there, and what was added so far
      if (inside && lane == __ffs(same) - 1) {
        T* sum = to + static_cast<INDEX>(index) * channels;
        Total total = Total(*sum);
        for (unsigned rest = same; rest; rest &= rest - 1) {
          total += numbers[first_lane + __ffs(rest) - 1];
        }
        *sum = T(total);
      }
      __syncwarp();  // the numbers have been read
    }
  }
}

// As scatter, on a gx of zeros, by atomic additions in any order: more threads are at work, and two
// runs may differ in the last bits. A thread has one number.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    scatter_atomic(const T* __restrict__ g, const int64* __restrict__ indices,
                   T* __restrict__ gx, INDEX images, int channels, int pixels, int outputs) {
  INDEX count = images * outputs * channels;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    INDEX image = item / (static_cast<INDEX>(outputs) * channels), channel = item % channels;
    int64 index = indices[item];
    if (index < 0 || index >= pixels) continue;
    atomicAdd(gx + (image * pixels + static_cast<INDEX>(index)) * channels + channel, g[item]);
  }
}
