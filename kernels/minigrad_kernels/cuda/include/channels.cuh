// Ways through the memory of channels.
//
// An array is seen as (groups, rows, channels, inner), from the longest stride to the shortest. The
// channels of all groups are what its kernels compute something of: `outputs` = groups * channels
// in number, each of rows * inner numbers.
//   An image is (1, N, C, H W); with its channels last it is (1, N H W, C, 1).
//   A matrix whose columns are summed is (1, rows, columns, 1), one whose rows are (1, 1, rows,
//   columns), a vector (1, 1, 1, length).
//
// A class for each of two cases, with the same members, so that a kernel is written once for both:
//   OWN          of how many outputs a thread has numbers, the same ones wherever it goes; number j
//                of a pack belongs to output(own(j));
//   visit(f)     calls f(at) with an array of offsets in memory, of the packs that this thread has:
//                four at a time as long as there are four, so that as many loads are under way
//                before the first is used. f is an object of a class that has a template for any
//                length of the array (a lambda that is one, NVRTC refuses);
//   leads()      whether this thread writes what was found of its outputs;
//   reduce(x)    the values of all threads of the block that have numbers of the same output.
// An output may be cut in `parts`, each found by other blocks: as many outputs as a small network
// has channels would leave most of a GPU idle.
#pragma once
#include "team.cuh"

// The way from `first` to `end` in steps; `next()` gives the offset of each stop.
template <class Next, class Visit>
__device__ __forceinline__ void visit_four_at_a_time(int64 first, int64 end, int64 step, Next& next,
                                                     Visit& visit) {
  int64 i = first;
  for (; i + 3 * step < end; i += 4 * step) {
    int64 at[4];
#pragma unroll
    for (int k = 0; k < 4; k++) at[k] = next();
    visit(at);
  }
  for (; i < end; i += step) {
    const int64 at[1] = {next()};
    visit(at);
  }
}

// Where inner > 1, or there is one channel: a team has a part of an output. It goes through the
// numbers as if they were one row, a pack beside the other, and jumps at the end of each plane. A
// pack of COUNT numbers must not cross that end: inner is a multiple of COUNT.
template <class Team, int COUNT>
class Planes {
 public:
  static constexpr int BLOCK = Team::BLOCK;
  static constexpr int OWN = 1;
  static __device__ __forceinline__ constexpr int own(int) { return 0; }

  __device__ __forceinline__ Planes(int64 rows, int64 channels, int64 inner, int64 outputs,
                                    int64 parts)
      : channels(channels), inner(inner) {
    output_ = quotient(Team::number(), parts);
    part_ = Team::number() - output_ * parts;
    valid = output_ < outputs;
    int64 packs = rows * inner / COUNT, most = quotient(packs + parts - 1, parts);
    begin = part_ * most;
    end = !valid ? begin : begin + most < packs ? begin + most : packs;
    int64 group = quotient(output_, channels);
    start = (group * rows * channels + output_ - group * channels) * inner;
  }

  __device__ __forceinline__ int64 output(int) const { return output_; }
  __device__ __forceinline__ int64 part() const { return part_; }
  __device__ __forceinline__ bool has_output() const { return valid; }
  __device__ __forceinline__ bool leads() const { return valid && Team::member() == 0; }

  template <class Operation, class Value>
  static __device__ __forceinline__ Value reduce(Value value) {
    return Team::template reduce<Operation>(value);
  }

  template <class Visit>
  __device__ __forceinline__ void visit(Visit& f) const {
    int64 first = begin + Team::member(), row = quotient(first * COUNT, inner);
    int64 inside = first * COUNT - row * inner;
    int64 at = start + row * channels * inner + inside;
    constexpr int64 STEP = Team::SIZE * COUNT;
    int64 rows_in_step = quotient(STEP, inner), rest = STEP - rows_in_step * inner;
    int64 step = rows_in_step * channels * inner + rest, jump = (channels - 1) * inner;
    auto next = [&]() {
      int64 now = at;
      at += step, inside += rest;
      if (inside >= inner) at += jump, inside -= inner;
      return now;
    };
    visit_four_at_a_time(first, end, Team::SIZE, next, f);
  }

 private:
  int64 channels, inner, output_, part_, begin, end, start;
  bool valid;
};

// Where warps leave what they have summed, for one another: eight bytes for each thread of a block.
// Not a template, in which g++ would not know shared memory as such.
__device__ inline void* column_scratch() {
  __shared__ __align__(16) unsigned char scratch[256 * 8];
  return scratch;
}

// Where inner = 1: neighbours have neighbouring channels, COUNT each, so that a warp loads memory
// without gaps. threadIdx.x says which channels, threadIdx.y which rows of the part. blockDim.x, a
// power of two, is small where channels are few.
template <int COUNT>
class Columns {
 public:
  static constexpr int BLOCK = 256;
  static constexpr int OWN = COUNT;
  static __device__ __forceinline__ constexpr int own(int j) { return j; }

  __device__ __forceinline__ Columns(int64 rows, int64 channels, int64, int64, int64 parts)
      : channels(channels) {
    int64 tiles = quotient(channels + blockDim.x * COUNT - 1, blockDim.x * COUNT);
    int64 tile_of_all = quotient(blockIdx.x, parts);
    part_ = blockIdx.x - tile_of_all * parts;
    int64 group = quotient(tile_of_all, tiles);
    int64 column = ((tile_of_all - group * tiles) * blockDim.x + threadIdx.x) * COUNT;
    valid = column < channels;
    output_ = group * channels + column;
    int64 most = quotient(rows + parts - 1, parts);
    begin = part_ * most;
    end = !valid ? begin : begin + most < rows ? begin + most : rows;
    start = group * rows * channels + column;
  }

  __device__ __forceinline__ int64 output(int j) const { return output_ + j; }
  __device__ __forceinline__ int64 part() const { return part_; }
  __device__ __forceinline__ bool has_output() const { return valid; }
  __device__ __forceinline__ bool leads() const { return valid && threadIdx.y == 0; }

  // A tree over threadIdx.y; neighbours read neighbouring banks of shared memory at every step.
  template <class Operation, class Value>
  static __device__ __forceinline__ Value reduce(Value value) {
    Value* scratch = static_cast<Value*>(column_scratch());
    int thread = thread_in_block();
    __syncthreads();  // the scratch memory may still be read, from the last time
    scratch[thread] = value;
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.y < half) {
        value = Operation::combine(value, scratch[thread + half * blockDim.x]);
        scratch[thread] = value;
      }
    }
    __syncthreads();
    return scratch[threadIdx.x];
  }

  template <class Visit>
  __device__ __forceinline__ void visit(Visit& f) const {
    int64 first = begin + threadIdx.y, at = start + first * channels;
    auto next = [&]() {
      int64 now = at;
      at += blockDim.y * channels;
      return now;
    };
    visit_four_at_a_time(first, end, blockDim.y, next, f);
  }

 private:
  int64 channels, output_, part_, begin, end, start;
  bool valid;
};
