// Matrix products by warpgroups: of half and of bfloat16, and of float rounded to TF32; the sums
// are float. The step beyond matmul_tensor.cu, on GPUs of compute capability 9.0.
//
// There, a warp reads fragments of both operands into registers and hands these to its tensor core.
// That takes instructions, registers, and much of shared memory's time, as each warp reads its own;
// and a warp waits for its product before it goes on. Tensor cores have become faster since, which
// that path to them has not. Here they find their way themselves:
//
// - Four warps, one on each tensor core of a multiprocessor, multiply 64 rows by 256 columns with
//   one instruction, `wgmma`. It reads both operands from shared memory itself: no register but
//   those of the sums, and B is read once for 64 rows rather than for each warp's 16.
// - It is asynchronous. The threads start the products of a stage, then the copies for a later one,
//   and come back when the products of the stage before are done: tensor cores find the next work
//   waiting at any time.
// - What it reads it is told by a *descriptor*, 64 bits: where, how far apart the parts are, how
//   they are swizzled (see wgmma.cuh). Operands of 16 bits may lie along or across the sum.
//
// A stage is 128 bytes of terms of a tile of A and one of B: panels of 64 rows, each 8 KB, in 8
// groups of 8 lines of 128 bytes. A line of a panel has
//
//   along:  the terms of a row; group r / 8, line r % 8        across: 64 rows of a term; t for r
//
//              chunk of 16 bytes:   0  1  2  3  4  5  6  7     as it came from memory
//              line 0 has them as   0  1  2  3  4  5  6  7
//              line 1               1  0  3  2  5  4  7  6     chunk c of line l lies at c ^ l:
//              line 2               2  3  0  1  6  7  4  5     a column of eight, which is what the
//              ...                                             products read at a time, is in all
//              line 7               7  6  5  4  3  2  1  0     32 banks
//
// Copies are of 16 bytes. What does not lie so that it can be copied in such pieces, and float,
// which must be rounded and lie along, matmul_lines.cu brings into lines before.
//
// Definitions: T, the type of the operands (half, bfloat16, or float for TF32); RESULT, that of C;
// TILE, a class below; A_ALONG and B_ALONG, whether the terms of a row of A, or column of B, are
// neighbours in memory.
//
// needs: sm_90a
// expect: HGMMA LDGSTS.128 STG.128
// expect: registers <= 192
// expect: registers <= 128 if TILE == Medium
#include "product.cuh"
#include "half.cuh"
#include "mma.cuh"
#include "wgmma.cuh"

constexpr int PANEL_ROWS = 64, LINE = 128, GROUP_BYTES = 8 * LINE, PANEL = 8 * GROUP_BYTES;
constexpr int CHUNK = 16 / sizeof(T);      // numbers in 16 bytes
constexpr int DEPTH = LINE / sizeof(T);    // terms of a stage
constexpr int STEP = 32 / sizeof(T);       // terms of a product

// Two warpgroups; each computes 64 rows of the tile. One stage is multiplied, the one before may
// still be, and the others are filled.
template <int TILE_COLUMNS, int STAGES_OF_IT, int RESIDENT>
struct Tile {
  static constexpr int ROWS = 128, COLUMNS = TILE_COLUMNS;
  static constexpr int THREADS = ROWS / PANEL_ROWS * 128;
  static constexpr int STAGES = STAGES_OF_IT;
  static constexpr int A_BYTES = ROWS * LINE, STAGE = A_BYTES + COLUMNS * LINE;
  static constexpr int BLOCKS = RESIDENT;  // that a multiprocessor shall have room for
};
using Large = Tile<256, 4, 1>;
using Medium = Tile<128, 3, 2>;

constexpr int THREADS = TILE::THREADS, STAGES = TILE::STAGES;
constexpr int FAR = STAGES - 2;  // how many stages copies are ahead

// The copies of an operand's tiles from memory to shared memory: ROWS rows of A, or columns of B.
template <int ROWS, bool ALONG>
struct Copier {
  static constexpr int SIDE = ALONG ? LINE / 16 : ROWS / CHUNK;  // chunks side by side in memory
  static constexpr int LINES = THREADS / SIDE;                   // lines that are copied at a time
  static constexpr int COPIES = (ALONG ? ROWS : DEPTH) / LINES;  // of a thread

  const T* from;  // what the thread copies next
  int64 leading;  // numbers from one line in memory to the next
  int rows;       // how many of the rows, from that of the first chunk, there are
  int terms;      // how many terms of the sum, from those of the first chunk, are left
  unsigned to;    // where its first chunk lies in a tile

  // Neighbouring threads copy neighbouring chunks: where the first one of this thread lies.
  static __device__ __forceinline__ int side() { return threadIdx.x % SIDE; }
  static __device__ __forceinline__ int line() { return threadIdx.x / SIDE; }

  // `operand` is where the tile's first row has the first of its terms.
  __device__ __forceinline__ Copier(const T* operand, int64 leading, int rows, int terms)
      : from(operand + line() * leading + side() * CHUNK),
        leading(leading),
        rows(rows - (ALONG ? line() : side() * CHUNK)),
        terms(terms - (ALONG ? side() * CHUNK : line())),
        to(side() / 8 * PANEL + line() * LINE + ((side() ^ line()) & 7) * 16) {}

  // Start the copies of a tile; then go on to that of the next terms. Zeros stand for what lies
  // beyond the rows and terms that there are.
  __device__ __forceinline__ void start(char* tile) {
    static_assert(THREADS % SIDE == 0 && LINES % 8 == 0, "the same line of each group");
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
      bool there = ALONG ? i * LINES < rows && 0 < terms : 0 < rows && i * LINES < terms;
      cp_async_16(tile + to + i * LINES * LINE, from + i * LINES * leading, there);
    }
    from += ALONG ? DEPTH : DEPTH * leading;
    terms -= DEPTH;
  }
};

// Where an operand's tile is, for the products of its first terms.
template <bool ALONG>
__device__ __forceinline__ uint64 descriptor_of(const char* tile) {
  return wgmma_descriptor(tile, ALONG ? 0 : PANEL, GROUP_BYTES);
}

// That of the next terms: descriptors count in units of 16 bytes.
template <bool ALONG>
constexpr uint64 NEXT = (ALONG ? STEP * sizeof(T) : STEP * LINE) / 16;

using Sums = float[TILE::COLUMNS / 2];

__device__ __forceinline__ void multiply_add(half, Sums& sums, uint64 a, uint64 b) {
  wgmma_m64k16_f16<TILE::COLUMNS, !A_ALONG, !B_ALONG>(sums, a, b);
}
__device__ __forceinline__ void multiply_add(bfloat16, Sums& sums, uint64 a, uint64 b) {
  wgmma_m64k16_bf16<TILE::COLUMNS, !A_ALONG, !B_ALONG>(sums, a, b);
}
__device__ __forceinline__ void multiply_add(float, Sums& sums, uint64 a, uint64 b) {
  static_assert(sizeof(T) == 2 || (A_ALONG && B_ALONG), "TF32 lies along the sum");
  wgmma_m64k8_tf32<TILE::COLUMNS>(sums, a, b);
}

// Start the products of a stage: of the warpgroup's panel of A with all of B.
__device__ __forceinline__ void multiply_stage(const char* stage, Sums& sums) {
  uint64 a = descriptor_of<A_ALONG>(stage + threadIdx.x / 128 * PANEL);
  uint64 b = descriptor_of<B_ALONG>(stage + TILE::A_BYTES);
  wgmma_fence(sums);
#pragma unroll
  for (int step = 0; step < DEPTH / STEP; step++) {
    multiply_add(T(0.0f), sums, a + step * NEXT<A_ALONG>, b + step * NEXT<B_ALONG>);
  }
  wgmma_commit();
}

// Store the sums. A lane has two neighbours of a row of each 8 columns, and two 8 rows below:
// stored so, they would reach memory in pieces of a few bytes. Shared memory, where the stages are
// no longer needed, turns them into packs of 16 bytes, which neighbouring threads store side by
// side. (The gap at the end of a row keeps the 8 rows that a warp writes to in different banks.)
__device__ __forceinline__ void store(const Sums& sums, float* tile, const Results<RESULT>& results,
                                      int top, int left) {
  constexpr int PITCH = TILE::COLUMNS + 8, PACK = 16 / sizeof(RESULT);
  constexpr int SIDE = TILE::COLUMNS / PACK, LINES = THREADS / SIDE;
  static_assert(THREADS % SIDE == 0, "a thread stores the same columns of every row");
  static_assert(TILE::ROWS * PITCH * sizeof(float) <= STAGES * TILE::STAGE, "it fits");
  int lane = threadIdx.x % 32;
  float* mine = tile + (threadIdx.x / 32 * 16 + lane / 4) * PITCH + lane % 4 * 2;
#pragma unroll
  for (int j = 0; j < TILE::COLUMNS / 8; j++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      float2 two = make_float2(sums[4 * j + 2 * i], sums[4 * j + 2 * i + 1]);
      *reinterpret_cast<float2*>(mine + 8 * i * PITCH + 8 * j) = two;
    }
  }
  __syncthreads();
  int column = threadIdx.x % SIDE * PACK;
  float added[PACK], pack[PACK];
  results.load_bias(left + column, added);
#pragma unroll 4
  for (int row = threadIdx.x / SIDE; row < TILE::ROWS; row += LINES) {
#pragma unroll
    for (int i = 0; i < PACK; i += 4) {
      Pack<float, 4> four = load_pack<4>(tile + row * PITCH + column + i);
#pragma unroll
      for (int j = 0; j < 4; j++) pack[i + j] = four.at[j];
    }
    results.store(top + row, left + column, pack, added);
  }
}

// C = A B and so on: the parameters are those of `product` in matmul.cu; `wide` is about 16 bytes.
// A block computes a tile of a product, or a part of its sums. It needs STAGES * TILE::STAGE bytes
// of dynamic shared memory, and GROUP_BYTES to begin at a multiple of that.
extern "C" __global__ void __launch_bounds__(TILE::THREADS, TILE::BLOCKS)
    warpgroup_product(const T* __restrict__ a, int64 a_leading, int64 a_outer, int64 a_inner,
                      const T* __restrict__ b, int64 b_leading, int64 b_outer, int64 b_inner,
                      const RESULT* __restrict__ bias, bool relu, RESULT* __restrict__ c,
                      bool wide, int rows, int columns, int depth, unsigned batches,
                      unsigned inner, int part) {
  DYNAMIC_SHARED(char, memory);
  __shared__ Work kept;  // until the end; meanwhile all registers have better uses
  char* stages = memory + (GROUP_BYTES - shared_address(memory) % GROUP_BYTES) % GROUP_BYTES;
  Shape shape = {rows, columns, depth, batches, inner, part};
  Work work = work_of_block<TILE>(shape);
  if (threadIdx.x == 0) kept = work;
  a += work.outer * a_outer + work.inner * a_inner +
       (A_ALONG ? work.row * a_leading + work.first : work.first * a_leading + work.row);
  b += work.outer * b_outer + work.inner * b_inner +
       (B_ALONG ? work.column * b_leading + work.first : work.first * b_leading + work.column);
  int terms = work.last - work.first;
  Copier<TILE::ROWS, A_ALONG> from_a(a, a_leading, rows - work.row, terms);
  Copier<TILE::COLUMNS, B_ALONG> from_b(b, b_leading, columns - work.column, terms);

  for (int stage = 0; stage < FAR; stage++) {
    from_a.start(stages + stage * TILE::STAGE);
    from_b.start(stages + stage * TILE::STAGE + TILE::A_BYTES);
    cp_async_commit();
  }

  // At the barrier, the copies to this stage have arrived, and the products of the stage before the
  // last are done, for all threads: that one is filled anew. The products of the last one may go on
  // until those of this one have been started.
  Sums sums = {};
  int stage = 0, filled = FAR;
  for (; terms > 0; terms -= DEPTH) {
    cp_async_wait<FAR - 1>();
    fence_proxy_async();
    __syncthreads();
    multiply_stage(stages + stage * TILE::STAGE, sums);
    from_a.start(stages + filled * TILE::STAGE);
    from_b.start(stages + filled * TILE::STAGE + TILE::A_BYTES);
    cp_async_commit();
    wgmma_wait<1>();
    stage = stage + 1 < STAGES ? stage + 1 : 0;
    filled = filled + 1 < STAGES ? filled + 1 : 0;
  }
  wgmma_wait<0>(sums);
  cp_async_wait<0>();
  __syncthreads();
  store(sums, reinterpret_cast<float*>(stages), results_of(kept, shape, c, bias, relu, wide),
        kept.row, kept.column);
}
