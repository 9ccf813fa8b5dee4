// Matrix products on tensor cores: of half and of bfloat16, and of float rounded to TF32; the sums
// are float.
//
// A tensor core multiplies small matrices that lie in the registers of a warp: 16 x 16 by 16 x 8
// numbers of 16 bits, or 16 x 8 by 8 x 8 of TF32. It computes so fast that everything else here is
// about bringing numbers to it in time:
//
// - From memory to shared memory go STAGES tiles at once, by asynchronous copies of 16 bytes that
//   pass no register. While one tile is multiplied, the next ones are on their way.
// - A warp computes up to 64 x 64 numbers of C. For each step of 32 bytes along the sums it reads
//   64 rows and 64 columns from shared memory, 4 KB for 65,536 multiply-adds of halves; with 32 x
//   32 it would be 8 KB, which takes shared memory longer than the products take the tensor cores.
// - `ldmatrix` reads four matrices of 8 rows of 16 bytes with one instruction, and hands every lane
//   what the products want of it. The fragments of the next step are read before the current one is
//   multiplied, so that neither waits for the other.
// - The 16 bytes of 8 neighbouring rows lie in different banks: see `place_of`.
// - Large tiles are 128 x 256: what a block reads of the L2 cache is in proportion to the two
//   sides, its work to their product.
//
// Definitions: T, the type of the operands (half, bfloat16, or float for TF32); RESULT, that of C;
// TILE, a class below; STAGES; WIDTH, A_ALONG and B_ALONG as in matmul.cu.
//
// What older architectures cannot multiply, or have no shared memory for:
// needs: sm_80 if T != half
// needs: sm_80 if TILE != Small
// needs: sm_80 if STAGES > 3
// needs: sm_90 if TILE == Large and STAGES > 3
// expect: HMMA
// expect: LDSM if T != float
// expect: LDGSTS.128 from sm_80 if WIDTH > 1
#include "product.cuh"
#include "half.cuh"
#include "mma.cuh"

template <int TILE_ROWS, int TILE_COLUMNS, int ROWS_OF_WARP, int COLUMNS_OF_WARP, int RESIDENT>
struct Tile {
  static constexpr int ROWS = TILE_ROWS, COLUMNS = TILE_COLUMNS;
  static constexpr int WARP_ROWS = ROWS_OF_WARP, WARP_COLUMNS = COLUMNS_OF_WARP;
  static constexpr int WARPS_ACROSS = COLUMNS / WARP_COLUMNS;
  static constexpr int THREADS = ROWS / WARP_ROWS * WARPS_ACROSS * 32;
  static constexpr int BLOCKS = RESIDENT;  // that a multiprocessor shall have registers for
};
using Large = Tile<128, 256, 64, 64, 1>;
using Medium = Tile<128, 128, 64, 64, 2>;
using Small = Tile<64, 64, 32, 32, 3>;

constexpr int THREADS = TILE::THREADS;
constexpr int CHUNK = 16 / sizeof(T);   // numbers in 16 bytes
constexpr int DEPTH = 128 / sizeof(T);  // terms of the sums in a tile
constexpr int STEP = 32 / sizeof(T);    // terms that one product of the tensor cores has
constexpr int STEPS = DEPTH / STEP;
constexpr int DOWN = TILE::WARP_ROWS / 16, ACROSS = TILE::WARP_COLUMNS / 16;  // fragments of a warp

// Products of fragments: 16 rows of A and 16 columns of B

__device__ __forceinline__ void multiply_add(half, float (&d)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
  mma_m16n8k16_f16(d, a, b);
}
__device__ __forceinline__ void multiply_add(bfloat16, float (&d)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
  mma_m16n8k16_bf16(d, a, b);
}
__device__ __forceinline__ void multiply_add(float, float (&d)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
  mma_m16n8k8_tf32(d, a, b);
}

// An operand's tile in shared memory. Its lines are as in memory: rows that run along the sum, of
// DEPTH numbers, or DEPTH lines across it, of SIZE numbers. SIZE is the number of rows of A, or
// columns of B.
template <int SIZE, bool ALONG, bool OF_A>
struct SharedTile {
  static constexpr int LENGTH = ALONG ? DEPTH : SIZE, LINES = ALONG ? SIZE : DEPTH;
  static constexpr bool WORDS = !ALONG && sizeof(T) == 4;  // read number by number
  static constexpr int GAP = WORDS ? 8 : 0, NUMBERS = LINES * (LENGTH + GAP);

  // Where a chunk of 16 bytes of a line is. Chunk c of line l is stored as chunk c ^ l % 8 of its
  // group of 8: the same chunk of 8 lines, which ldmatrix reads at a time, then lies in 8 different
  // groups of 4 banks, and the 8 chunks of a line, which are written at a time, do, too. Where
  // numbers are read one by one, a warp reads 8 neighbours of 4 lines at a time: a gap of 8 numbers
  // between lines keeps these apart, and needs fewer registers for addresses.
  static __device__ __forceinline__ int place_of(int line, int chunk) {
    int moved = WORDS ? chunk : chunk / 8 * 8 + ((chunk ^ line) & 7);
    return line * (LENGTH + GAP) + moved * CHUNK;
  }

  // A lane's part of 16 rows (or columns) from `row`, of a step along the sum. These are four
  // matrices of 8 rows and half of the terms. Registers that a product takes together must be
  // neighbours: a product takes all four of A, of which the second lies below the first; it takes
  // two of B, of which the second has the later terms.
  static __device__ __forceinline__ int lower(int matrix) { return OF_A ? matrix % 2 : matrix / 2; }
  static __device__ __forceinline__ int later(int matrix) { return OF_A ? matrix / 2 : matrix % 2; }

  static __device__ __forceinline__ void read(unsigned (&fragment)[4], const T* tile, int row,
                                              int step) {
    int lane = threadIdx.x % 32, matrix = lane / 8;
    if (ALONG) {
      int line = row + 8 * lower(matrix) + lane % 8;
      ldmatrix_x4(fragment, tile + place_of(line, 2 * step + later(matrix)));
    } else if (!WORDS) {
      int term = step * STEP + 8 * later(matrix) + lane % 8;
      ldmatrix_x4_trans(fragment, tile + place_of(term, row / CHUNK + lower(matrix)));
    } else {  // ldmatrix can transpose numbers of 16 bits only
      const T* first = tile + lane % 4 * (LENGTH + GAP) + lane / 4 + row;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        fragment[i] = word(first[(step * STEP + 4 * later(i)) * (LENGTH + GAP) + 8 * lower(i)]);
      }
    }
    if (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < 4; i++) fragment[i] = to_tf32(__uint_as_float(fragment[i]));
    }
  }

  static __device__ __forceinline__ unsigned word(float x) { return __float_as_uint(x); }
};

using TileOfA = SharedTile<TILE::ROWS, A_ALONG, true>;
using TileOfB = SharedTile<TILE::COLUMNS, B_ALONG, false>;
constexpr int STAGE = TileOfA::NUMBERS + TileOfB::NUMBERS;  // a tile of A, behind it one of B

// The copies of an operand's tiles from memory to shared memory: each thread starts PACKS for each
// tile, a part with every step of the products, so that the one work goes on beside the other.
template <class Tile, bool ALONG>
struct Copier {
  static constexpr int SIDE = Tile::LENGTH / WIDTH;  // packs side by side in memory
  static constexpr int LINES = THREADS / SIDE;       // lines that all threads copy at a time
  static constexpr int PACKS = Tile::LINES / LINES;
  static_assert(THREADS % SIDE == 0 && PACKS % STEPS == 0, "all threads do the same in each step");

  const T* from;  // what the thread copies next
  int64 leading;  // numbers from one line in memory to the next
  int rows;       // how many of the rows, from that of the first pack, there are
  int terms;      // how many terms of the sum, from those of the first pack, are left

  // Neighbouring threads copy neighbouring packs: where the first one of this thread lies.
  static __device__ __forceinline__ int side() { return threadIdx.x % SIDE * WIDTH; }
  static __device__ __forceinline__ int line() { return threadIdx.x / SIDE; }

  // `operand` is where the tile's first row has the first of its terms.
  __device__ __forceinline__ Copier(const T* operand, int64 leading, int rows, int terms)
      : from(operand + line() * leading + side()),
        leading(leading),
        rows(rows - (ALONG ? line() : side())),
        terms(terms - (ALONG ? side() : line())) {}

  // Start this step's part of the copies to a tile; with the last one, go on to the next tile.
  // Zeros stand for what lies beyond the rows and terms that there are.
  __device__ __forceinline__ void start(T* tile, int step) {
    constexpr int PART = PACKS / STEPS;
#pragma unroll(PART <= 4 ? PART : 4)
    for (int i = step * PART; i < (step + 1) * PART; i++) {
      bool there = ALONG ? i * LINES < rows && 0 < terms : 0 < rows && i * LINES < terms;
      T* to = tile + Tile::place_of(line() + i * LINES, side() / CHUNK) + side() % CHUNK;
      copy(to, from, there);
      from += LINES * leading;
    }
    if (step == STEPS - 1) {
      from += ALONG ? DEPTH - PACKS * LINES * leading : 0;  // across, the next line is the next
      terms -= DEPTH;
    }
  }

  static __device__ __forceinline__ void copy(T* to, const T* from, bool there) {
    if (WIDTH * sizeof(T) == 16) {
      cp_async_16(to, from, there);
    } else if (WIDTH * sizeof(T) == 4) {
      cp_async_4(to, from, there);
    } else {  // too small for an asynchronous copy
      *to = there ? *from : T(0.0f);
    }
  }
};

// What a warp reads for a step: its rows of A and columns of B, 16 at a time.
struct Fragments {
  unsigned a[DOWN][4], b[ACROSS][4];

  __device__ __forceinline__ void read(const T* stage, int step) {
    int warp = threadIdx.x / 32;
    int row = warp / TILE::WARPS_ACROSS * TILE::WARP_ROWS;
    int column = warp % TILE::WARPS_ACROSS * TILE::WARP_COLUMNS;
#pragma unroll
    for (int i = 0; i < DOWN; i++) TileOfA::read(a[i], stage, row + 16 * i, step);
#pragma unroll
    for (int j = 0; j < ACROSS; j++) {
      TileOfB::read(b[j], stage + TileOfA::NUMBERS, column + 16 * j, step);
    }
  }

  // sums += A B. A product has 8 columns: half of a fragment of B.
  __device__ __forceinline__ void multiply(float (&sums)[DOWN][2 * ACROSS][4]) const {
#pragma unroll
    for (int i = 0; i < DOWN; i++) {
#pragma unroll
      for (int j = 0; j < 2 * ACROSS; j++) {
        unsigned columns[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
        multiply_add(T(0.0f), sums[i][j], a[i], columns);
      }
    }
  }
};

// Store a warp's sums: a lane has two neighbours of a row of each product, and two 8 rows below.
__device__ __forceinline__ void store(const float (&sums)[DOWN][2 * ACROSS][4],
                                      const Results<RESULT>& results, int top, int left) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  top += warp / TILE::WARPS_ACROSS * TILE::WARP_ROWS + lane / 4;
  left += warp % TILE::WARPS_ACROSS * TILE::WARP_COLUMNS + lane % 4 * 2;
#pragma unroll
  for (int j = 0; j < 2 * ACROSS; j++) {
    float added[2];
    results.load_bias(left + 8 * j, added);
#pragma unroll
    for (int i = 0; i < 2 * DOWN; i++) {
      float two[2] = {sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1]};
      results.store(top + 8 * i, left + 8 * j, two, added);
    }
  }
}

// C = A B and so on: the parameters are those of `product` in matmul.cu, but `wide` is about pairs.
// A block computes a tile of a product, or a part of its sums; each of its warps a part of the
// tile. It needs STAGES * STAGE * sizeof(T) bytes of dynamic shared memory.
extern "C" __global__ void __launch_bounds__(TILE::THREADS, TILE::BLOCKS)
    tensor_product(const T* __restrict__ a, int64 a_leading, int64 a_outer, int64 a_inner,
                   const T* __restrict__ b, int64 b_leading, int64 b_outer, int64 b_inner,
                   const RESULT* __restrict__ bias, bool relu, RESULT* __restrict__ c,
                   bool wide, int rows, int columns, int depth, unsigned batches, unsigned inner,
                   int part) {
  DYNAMIC_SHARED(T, stages);
  __shared__ Work kept;  // until the end; meanwhile all registers have better uses
  Shape shape = {rows, columns, depth, batches, inner, part};
  Work work = work_of_block<TILE>(shape);
  if (threadIdx.x == 0) kept = work;
  a += work.outer * a_outer + work.inner * a_inner +
       (A_ALONG ? work.row * a_leading + work.first : work.first * a_leading + work.row);
  b += work.outer * b_outer + work.inner * b_inner +
       (B_ALONG ? work.column * b_leading + work.first : work.first * b_leading + work.column);
  int terms = work.last - work.first;
  Copier<TileOfA, A_ALONG> from_a(a, a_leading, rows - work.row, terms);
  Copier<TileOfB, B_ALONG> from_b(b, b_leading, columns - work.column, terms);

  // The copies of a tile make a group. There are as many tiles under way at any time, if need be
  // empty ones beyond the last: the next one has arrived when STAGES - 2 others have not.
  for (int stage = 0; stage < STAGES - 1; stage++) {
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      from_a.start(stages + stage * STAGE, step);
      from_b.start(stages + stage * STAGE + TileOfA::NUMBERS, step);
    }
    cp_async_commit();
  }
  cp_async_wait<STAGES - 2>();
  __syncthreads();

  float sums[DOWN][2 * ACROSS][4] = {};
  Fragments fragments[2];
  fragments[0].read(stages, 0);
  int stage = 0, free = STAGES - 1;
  for (; terms > 0; terms -= DEPTH) {
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
      from_a.start(stages + free * STAGE, step);
      from_b.start(stages + free * STAGE + TileOfA::NUMBERS, step);
      if (step == STEPS - 1) {  // all of this tile is in registers: on to the next
        cp_async_commit();
        cp_async_wait<STAGES - 2>();
        __syncthreads();
        free = stage;
        stage = stage + 1 < STAGES ? stage + 1 : 0;
      }
      fragments[(step + 1) % 2].read(stages + stage * STAGE, (step + 1) % STEPS);
      fragments[step % 2].multiply(sums);
    }
  }
  cp_async_wait<0>();
  __syncthreads();
  store(sums, results_of(kept, shape, c, bias, relu, wide), kept.row, kept.column);
}
