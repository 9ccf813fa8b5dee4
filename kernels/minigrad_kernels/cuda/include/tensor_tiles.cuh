// A product of two matrices in tiles on tensor cores: float rounded to TF32, or half; sums in
// float.
//
// A block of four warps computes BLOCK_M x BLOCK_N sums, each warp a quarter of them, half as high
// and half as wide: with 64 x 64 sums a warp loads 128 numbers for each term from shared memory,
// and 32 multiply-adds stand for each.
//
// LINE bytes of terms lie in shared memory at a time, in STAGES stages: while one is multiplied,
// asynchronous copies fill the others, straight from global memory and without registers. A step
// has one barrier: it tells that this stage is filled, for all threads, and that the stage before
// has been read, which is filled next.
//
// From sm_80 on. Definitions: T, float or half; BLOCK_M, BLOCK_N; COPY, the bytes of an
// asynchronous copy.
#pragma once

#include "minigrad.cuh"
#include "half.cuh"
#include "mma.cuh"

using Total = float;

constexpr int THREADS = 128;
constexpr int STAGES = 3;
constexpr int LINE = 128;              // bytes of a row's terms in a stage
constexpr int BLOCK_K = LINE / sizeof(T);
constexpr int CHUNK = 16 / sizeof(T);  // numbers in 16 bytes
constexpr int MMA_K = 2 * CHUNK;       // terms of a product: 8 of TF32, 16 of half
constexpr int WARP_M = BLOCK_M / 2, WARP_N = BLOCK_N / 2;
constexpr int TILES_M = WARP_M / 16, TILES_N = WARP_N / 8;

using Sums = float[TILES_M][TILES_N][4];

// The first row and column of the warp's part, and of the thread's numbers in a product.
__device__ __forceinline__ int warp_row() { return threadIdx.x / 64 * WARP_M; }
__device__ __forceinline__ int warp_column() { return threadIdx.x / 32 % 2 * WARP_N; }
__device__ __forceinline__ int lane() { return threadIdx.x % 32; }

// The row and the column in the block's tile of sums[i][j][2 * half] and its right neighbour.
__device__ __forceinline__ int tile_row(int i, int half) {
  return warp_row() + i * 16 + half * 8 + lane() / 4;
}
__device__ __forceinline__ int tile_column(int j) {
  return warp_column() + j * 8 + lane() % 4 * 2;
}

// What tensor cores take: float rounded to nearest, which they would cut off.
template <int COUNT>
__device__ __forceinline__ void round_operands(float, unsigned (&registers)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) registers[i] = to_tf32(__uint_as_float(registers[i]));
}
template <int COUNT>
__device__ __forceinline__ void round_operands(half, unsigned (&)[COUNT]) {}

__device__ __forceinline__ void multiply(float, float (&d)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
  mma_m16n8k8_tf32(d, a, b);
}
__device__ __forceinline__ void multiply(half, float (&d)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
  mma_m16n8k16_f16(d, a, b);
}

// sums += A B of MMA_K terms: all products of the warp's rows of A with its columns of B.
__device__ __forceinline__ void multiply_fragments(const unsigned (&a)[TILES_M][4],
                                                   const unsigned (&b)[TILES_N][2], Sums& sums) {
#pragma unroll
  for (int i = 0; i < TILES_M; i++) {
#pragma unroll
    for (int j = 0; j < TILES_N; j++) multiply(T(0.0f), sums[i][j], a[i], b[j]);
  }
}

// Copy COPY bytes to shared memory, or zeros.
__device__ __forceinline__ void copy_async(T* shared, const T* global, bool valid) {
  if (COPY == 16) {
    cp_async_16(shared, global, valid);
  } else {
    cp_async_4(shared, global, valid);
  }
}

// sums = A B, of `steps` times BLOCK_K terms. Loaders have `copy(stage)`, which starts the copies
// of the next step; `Multiply::stage(a, b, sums)` multiplies what lies in a stage of both.
template <class Multiply, class LoaderA, class LoaderB>
__device__ __forceinline__ void multiply_tiles(LoaderA& a, LoaderB& b, int steps, T* shared,
                                               Sums& sums) {
#pragma unroll
  for (int i = 0; i < TILES_M; i++) {
#pragma unroll
    for (int j = 0; j < TILES_N; j++) {
#pragma unroll
      for (int p = 0; p < 4; p++) sums[i][j][p] = 0;
    }
  }
  constexpr int STAGE = Multiply::A_STAGE + Multiply::B_STAGE;
  int filling = 0, reading = 0;
  for (int step = 1 - STAGES; step < steps; step++) {
    if (step >= 0) {
      cp_async_wait<STAGES - 2>();
      __syncthreads();
    }
    if (step + STAGES - 1 < steps) {
      a.copy(shared + filling * STAGE);
      b.copy(shared + filling * STAGE + Multiply::A_STAGE);
    }
    cp_async_commit();  // also a group of nothing, so that the last ones are waited for
    filling = filling + 1 < STAGES ? filling + 1 : 0;
    if (step >= 0) {
      const T* stage = shared + reading * STAGE;
      Multiply::stage(stage, stage + Multiply::A_STAGE, sums);
      reading = reading + 1 < STAGES ? reading + 1 : 0;
    }
  }
}

// Stages whose rows are those of the sums, with their terms side by side: A[row][k], B[column][k].
//
// A row has LINE bytes, all banks of shared memory once. Loads of matrices take 16 bytes of eight
// rows at a time, so these lie in other places in each row (the chunk's number xor the row's), and
// do not meet in banks.
struct RowsOfTerms {
  static constexpr int A_STAGE = BLOCK_M * BLOCK_K, B_STAGE = BLOCK_N * BLOCK_K;

  static __device__ __forceinline__ int place(int row, int k) {
    return row * BLOCK_K + ((k / CHUNK) ^ (row % 8)) * CHUNK + k % CHUNK;
  }

  static __device__ __forceinline__ void stage(const T* a, const T* b, Sums& sums) {
    int l = lane();
#pragma unroll
    for (int k = 0; k < BLOCK_K; k += MMA_K) {
      unsigned left[TILES_M][4], right[TILES_N][2];
#pragma unroll
      for (int i = 0; i < TILES_M; i++) {  // upper rows, lower rows; then of the next chunk
        int row = warp_row() + i * 16 + l % 16;
        ldmatrix_x4(left[i], a + place(row, k + l / 16 * CHUNK));
        round_operands(T(0.0f), left[i]);
      }
#pragma unroll
      for (int j = 0; j < TILES_N; j += 2) {  // two chunks; then of the next columns
        unsigned both[4];
        int row = warp_column() + j * 8 + l / 16 * 8 + l % 8;
        ldmatrix_x4(both, b + place(row, k + l / 8 % 2 * CHUNK));
        right[j][0] = both[0], right[j][1] = both[1];
        right[j + 1][0] = both[2], right[j + 1][1] = both[3];
      }
      multiply_fragments(left, right, sums);
    }
  }
};

// Stages whose rows are terms: A[k][row], B[k][column], as they are loaded where sums are over
// pixels. Rows are 8 numbers longer than the tile, so that what is loaded at once, 8 numbers of 4
// rows of float or 16 bytes of 8 rows of half, lies in all banks once.
struct RowsAreTerms {
  static constexpr int A_ROW = BLOCK_M + 8, B_ROW = BLOCK_N + 8;
  static constexpr int A_STAGE = BLOCK_K * A_ROW, B_STAGE = BLOCK_K * B_ROW;

  // The part of A at its first term and row. Float has no transposed load of matrices.
  static __device__ __forceinline__ void load_left(const float* a, unsigned (&r)[4]) {
    a += lane() % 4 * A_ROW + lane() / 4;
    r[0] = to_tf32(a[0]), r[1] = to_tf32(a[8]);
    r[2] = to_tf32(a[4 * A_ROW]), r[3] = to_tf32(a[4 * A_ROW + 8]);
  }
  static __device__ __forceinline__ void load_left(const half* a, unsigned (&r)[4]) {
    int l = lane();
    ldmatrix_x4_trans(r, a + (l / 16 * 8 + l % 8) * A_ROW + l / 8 % 2 * 8);
  }

  // The part of B at its first term and column, and that of the next 8 columns.
  static __device__ __forceinline__ void load_right(const float* b, unsigned (&r)[4]) {
    b += lane() % 4 * B_ROW + lane() / 4;
    r[0] = to_tf32(b[0]), r[1] = to_tf32(b[4 * B_ROW]);
    r[2] = to_tf32(b[8]), r[3] = to_tf32(b[4 * B_ROW + 8]);
  }
  static __device__ __forceinline__ void load_right(const half* b, unsigned (&r)[4]) {
    int l = lane();
    ldmatrix_x4_trans(r, b + l % 16 * B_ROW + l / 16 * 8);
  }

  static __device__ __forceinline__ void stage(const T* a, const T* b, Sums& sums) {
#pragma unroll
    for (int k = 0; k < BLOCK_K; k += MMA_K) {
      unsigned left[TILES_M][4], right[TILES_N][2];
#pragma unroll
      for (int i = 0; i < TILES_M; i++) load_left(a + k * A_ROW + warp_row() + i * 16, left[i]);
#pragma unroll
      for (int j = 0; j < TILES_N; j += 2) {
        unsigned both[4];
        load_right(b + k * B_ROW + warp_column() + j * 8, both);
        right[j][0] = both[0], right[j][1] = both[1];
        right[j + 1][0] = both[2], right[j + 1][1] = both[3];
      }
      multiply_fragments(left, right, sums);
    }
  }
};
