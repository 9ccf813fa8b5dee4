// Matrix products of a warp, and the loads that bring their operands into place: what mma.sync and
// ldmatrix compute, from the layouts of fragments in the PTX manual ("Matrix Fragments for
// mma.m16n8k8" and "...m16n8k16").
//
// A warp computes D = A B + C, A with 16 rows, B with 8 columns. Lane l stands in row l / 4 of the
// fragments and has there the columns that belong to l % 4.
#pragma once

namespace cuda_on_cpu {

constexpr int MMA_ROWS = 16, MMA_COLUMNS = 8;

// What a register of a fragment holds: two halves, two bfloat16, or one TF32 number.
struct HalvesInRegister {
  static constexpr int COUNT = 2;
  static float number(unsigned word, int which) { return Binary16::widen(word >> 16 * which); }
};
struct BrainsInRegister {
  static constexpr int COUNT = 2;
  static float number(unsigned word, int which) { return Brain16::widen(word >> 16 * which); }
};
struct Tf32InRegister {
  static constexpr int COUNT = 1;
  // Tensor cores ignore the last 13 bits of a float.
  static float number(unsigned word, int) { return bits_as<float>(word & 0xffffe000u); }
};

// Words 0 to 3 are A, 4 and 5 B, 6 to 9 C; 4 words of the result.
// A register of A covers 8 rows and 4 * COUNT columns: a[0] the upper left part of A, a[1] the
// lower left, a[2] the upper right, a[3] the lower right. B has its two parts one below the other.
template <class Register>
CUDA_ON_CPU_UNWATCHED inline void multiply_fragments(Thread* lanes, unsigned) {
  constexpr int PART = 4 * Register::COUNT, DEPTH = 2 * PART;
  float a[MMA_ROWS][DEPTH], b[DEPTH][MMA_COLUMNS];
  for (unsigned lane = 0; lane < WARP; lane++) {
    const unsigned* words = lanes[lane].given.words;
    int row = lane / 4, column = lane % 4 * Register::COUNT;
    for (int i = 0; i < Register::COUNT; i++) {
      for (int part = 0; part < 4; part++) {
        a[row + part % 2 * 8][column + part / 2 * PART + i] = Register::number(words[part], i);
      }
      for (int part = 0; part < 2; part++) {
        b[column + part * PART + i][row] = Register::number(words[4 + part], i);
      }
    }
  }
  for (unsigned lane = 0; lane < WARP; lane++) {
    for (int i = 0; i < 4; i++) {
      int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = lanes[lane].given.floats[6 + i];
      for (int k = 0; k < DEPTH; k++) sum += a[row][k] * b[k][column];
      lanes[lane].taken.floats[i] = sum;
    }
  }
}

template <class Register>
CUDA_ON_CPU_UNWATCHED inline void mma(const char* operation, float (&d)[4], const unsigned (&a)[4],
                const unsigned (&b)[2], Place place) {
  Thread* me = current;
  for (int i = 0; i < 4; i++) me->given.words[i] = a[i];
  for (int i = 0; i < 2; i++) me->given.words[4 + i] = b[i];
  for (int i = 0; i < 4; i++) me->given.floats[6 + i] = d[i];
  meet(operation, 0xffffffffu, multiply_fragments<Register>, place);
  for (int i = 0; i < 4; i++) d[i] = me->taken.floats[i];
}

// ldmatrix: COUNT matrices of 8 x 8 numbers of 16 bits. Lane l names row l % 8 of matrix l / 8, and
// gets of each matrix numbers 2 (l % 4) and 2 (l % 4) + 1 of row l / 4; transposed, of that column.

CUDA_ON_CPU_UNWATCHED inline void collect_rows(Thread* lanes, unsigned) {
  Warp& warp = block.warp[lanes->number / WARP];
  for (unsigned lane = 0; lane < WARP; lane++) warp.rows[lane] = lanes[lane].given.pointers[0];
}

CUDA_ON_CPU_UNWATCHED inline const uint16_t* matrix_row(unsigned row) {
  return static_cast<const uint16_t*>(block.warp[current->number / WARP].rows[row]);
}

CUDA_ON_CPU_UNWATCHED inline void share_row(const void* row, Place place) {
  current->given.pointers[0] = row;
  meet("ldmatrix", 0xffffffffu, collect_rows, place);
}

template <int COUNT, bool TRANSPOSED>
inline void load_matrices(unsigned (&registers)[COUNT], const void* row, Place place) {
  Thread* me = current;
  unsigned lane = lane_of(me);
  if (reinterpret_cast<uintptr_t>(row) % 16 && lane < 8 * COUNT) {
    report(place, "ldmatrix: the row of thread %u is not aligned to 16 bytes", me->number);
    stop_block();
  }
  share_row(row, place);
  for (unsigned matrix = 0; matrix < COUNT; matrix++) {
    unsigned pair = 0;
    for (unsigned i = 0; i < 2; i++) {
      unsigned along = lane % 4 * 2 + i, across = lane / 4;
      unsigned number = TRANSPOSED ? matrix_row(matrix * 8 + along)[across]
                                   : matrix_row(matrix * 8 + across)[along];
      pair |= number << 16 * i;
    }
    registers[matrix] = pair;
  }
}

}  // namespace cuda_on_cpu
