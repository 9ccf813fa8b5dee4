// Matrices in shared memory as warpgroups describe them: descriptors of 64 bits, and swizzles, from
// the PTX manual ("Asynchronous Warpgroup Level Matrix Shared Memory Layout").
//
// Bits 0-13 of a descriptor are where the matrix starts, 16-29 its leading distance and 32-45 its
// stride, all three in units of 16 bytes; 62-63 the swizzle. The others must be 0 here.
#pragma once

namespace cuda_on_cpu {

constexpr unsigned CHUNK = 16;  // bytes: what a swizzle moves as a whole

// An operand in shared memory, as a descriptor says. Chunks of 8 rows lie in lines as long as the
// swizzle is wide: `across`, a chunk has 8 rows of one term; else some terms of one row.
struct Operand {
  unsigned start, leading, stride;  // bytes
  unsigned width;                   // of the swizzle: 128, 64, 32, or 16, which is none
  bool across;

  // Where a chunk is: `row`, a multiple of 8 if across; `part`, the term if across, else which half
  // of the row's terms.
  CUDA_ON_CPU_UNWATCHED unsigned place(unsigned row, unsigned part) const {
    unsigned at = start, group = row / 8, wide = width / CHUNK;
    if (across && wide == 1) {
      at += group * stride + part / 8 * leading + part % 8 * CHUNK;
    } else if (across) {
      at += group / wide * leading + group % wide * CHUNK + part / 8 * stride + part % 8 * width;
    } else {
      at += group * stride + row % 8 * width + part * (wide == 1 ? leading : CHUNK);
    }
    return at ^ (at >> 7 & (wide - 1)) * CHUNK;
  }

  // That of the chunk with this number of those from `row` on.
  CUDA_ON_CPU_UNWATCHED unsigned place_of(unsigned row, unsigned number) const {
    return across ? place(row + number / 16 * 8, number % 16) : place(row + number / 2, number % 2);
  }
};

struct alignas(CHUNK) Chunk {
  unsigned long long low, high;
  CUDA_ON_CPU_UNWATCHED bool operator==(const Chunk& other) const {
    return low == other.low && high == other.high;
  }
};

CUDA_ON_CPU_UNWATCHED inline unsigned shared_address(const void* shared, Place place) {
  size_t offset = static_cast<const char*>(shared) - dynamic_shared;
  if (offset < MOST_SHARED) return static_cast<unsigned>(offset);
  report(place, "wgmma: operands must lie in dynamic shared memory, thread %u", current->number);
  stop_block();
}

CUDA_ON_CPU_UNWATCHED inline unsigned long long descriptor(const void* shared, unsigned leading,
                                                           unsigned stride, Place place) {
  unsigned start = shared_address(shared, place);
  if ((start | leading | stride) % CHUNK || (leading | stride) > 0x3ffff) {
    report(place, "wgmma: start %u, leading distance %u and stride %u must be multiples of 16 "
           "bytes below 256 KB", start, leading, stride);
    stop_block();
  }
  return start >> 4 | static_cast<unsigned long long>(leading >> 4) << 16 |
         static_cast<unsigned long long>(stride >> 4) << 32 | 1ull << 62;
}

CUDA_ON_CPU_UNWATCHED inline Operand decoded(unsigned long long bits, bool across,
                                             const char* which, const char* operation,
                                             Place place) {
  constexpr unsigned long long FIELDS = 0x3fffull | 0x3fffull << 16 | 0x3fffull << 32 | 3ull << 62;
  constexpr unsigned WIDTHS[] = {16, 128, 64, 32};
  auto field = [&](int first) { return static_cast<unsigned>(bits >> first & 0x3fff) << 4; };
  Operand operand = {field(0), field(16), field(32), WIDTHS[bits >> 62], across};
  if (bits & ~FIELDS) {
    report(place, "%s: descriptor 0x%016llx of %s has bits that must be 0", operation, bits, which);
    stop_block();
  }
  // A swizzle takes a line's number from the address. (Other starts would need a base offset.)
  if (operand.width > CHUNK && operand.start & (8 * operand.width - 1) & 0x380) {
    report(place, "%s: %s starts at %u: the pattern of its swizzle must start at a multiple "
           "of %u bytes", operation, which, operand.start, 8 * operand.width);
    stop_block();
  }
  return operand;
}

}  // namespace cuda_on_cpu
