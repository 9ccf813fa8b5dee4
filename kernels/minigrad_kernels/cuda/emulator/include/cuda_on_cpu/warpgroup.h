// Matrix products of a warpgroup: what wgmma.mma_async computes, from the PTX manual
// ("Asynchronous Warpgroup Level Matrix Instructions": matrix descriptors, register fragments).
//
// Four warps compute D += A B: A with 64 rows, each warp the sums of 16 of them. Both operands lie
// in shared memory, where the tensor cores read them while the threads go on. A GPU may do so at
// any time before the product is waited for. Here it is read at once and looked at again when it is
// waited for: what has changed in between is a mistake. The sums are NaN meanwhile.
#pragma once

namespace cuda_on_cpu {

// Shared memory as the tensor cores see it

// Reads of other threads' memory: these the sanitizers must see.
inline Chunk read_chunk(unsigned place) {
  return *reinterpret_cast<const Chunk*>(dynamic_shared + place);
}

CUDA_ON_CPU_UNWATCHED inline unsigned place_in(const Product& product, unsigned number) {
  unsigned row = current->number / WARP % WARPS_OF_GROUP * ROWS_OF_WARP;
  return number < CHUNKS_OF_A ? product.a.place_of(row, number)
                              : product.b.place_of(0, number - CHUNKS_OF_A);
}

CUDA_ON_CPU_UNWATCHED inline void keep(Product& product, unsigned number, unsigned place,
                                       Chunk chunk) {
  product.chunks[number] = chunk;
  if (chunk == products->fenced[place / CHUNK]) return;
  bool unwritten = chunk.low == ~0ull && chunk.high == ~0ull;
  report(product.place, "wgmma reads shared memory at byte %u %s", place,
         unwritten ? "to which an asynchronous copy is under way"
                   : "that was written with no fence_proxy_async() behind it");
  stop_block();
}

CUDA_ON_CPU_UNWATCHED inline void compare(const Product& product, unsigned number, unsigned place,
                                          Chunk chunk) {
  if (chunk == product.chunks[number]) return;
  report(product.place, "shared memory at byte %u, which this wgmma reads, was written to before "
         "it was waited for", place);
  stop_block();
}

CUDA_ON_CPU_UNWATCHED inline unsigned checked_place(const Product& product, unsigned number) {
  unsigned place = place_in(product, number);
  if (place + CHUNK <= MOST_SHARED) return place;
  report(product.place, "wgmma reads at byte %u of shared memory, which has %zu", place,
         MOST_SHARED);
  stop_block();
}

CUDA_ON_CPU_UNWATCHED inline unsigned count_of(const Product* product) { return product->count(); }

// The lanes of a warp share the work.
inline void read_operands(Product* product) {
  for (unsigned i = lane_of(current); i < count_of(product); i += WARP) {
    unsigned place = checked_place(*product, i);
    keep(*product, i, place, read_chunk(place));
  }
}
inline void read_again(Product* product) {
  for (unsigned i = lane_of(current); i < count_of(product); i += WARP) {
    unsigned place = checked_place(*product, i);
    compare(*product, i, place, read_chunk(place));
  }
}

// Beginning

CUDA_ON_CPU_UNWATCHED inline bool same_request(const Request& a, const Request& b) {
  return a.a == b.a && a.b == b.b && a.a_across == b.a_across && a.b_across == b.b_across &&
         a.columns == b.columns && a.multiply == b.multiply && a.place.line == b.place.line;
}

CUDA_ON_CPU_UNWATCHED inline const Request& request_of(const Thread& lane) {
  return *static_cast<const Request*>(lane.given.pointers[0]);
}

// All lanes have come further than the products that had ended.
CUDA_ON_CPU_UNWATCHED inline void release_ended(WarpProducts& mine) {
  mine.first += mine.ended;
  mine.count -= mine.ended;
  mine.ended = 0;
  for (Sums& sums : mine.sums) {
    if (sums.delivered) sums.count = 0;
    sums.delivered = false;
  }
}

CUDA_ON_CPU_UNWATCHED inline void check_lanes(const Thread* lanes, const Request& request) {
  if (block.threads < (lanes->number / WARPGROUP + 1) * WARPGROUP) {
    report(request.place, "%s wants warpgroups of %u threads; the block has %u threads",
           request.operation, WARPGROUP, block.threads);
    stop_block();
  }
  for (unsigned lane = 1; lane < WARP; lane++) {
    if (same_request(request, request_of(lanes[lane]))) continue;
    report(request.place, "%s: threads %u and %u give other descriptors", request.operation,
           lanes->number, lanes[lane].number);
    stop_block();
  }
}

// The warps of a group may begin a product at different times, but must all begin the same.
CUDA_ON_CPU_UNWATCHED inline void check_group(unsigned warp, const Request& request) {
  GroupProducts& group = products->group[warp / WARPS_OF_GROUP];
  unsigned number = products->warp[warp].begun++;
  Begun& begun = group.begun[number % MOST_AHEAD];
  if (number == group.count) {
    begun = {request.a, request.b, request.place};
    group.count++;
    return;
  }
  bool same = begun.a == request.a && begun.b == request.b &&
              begun.place.line == request.place.line;
  if (!same && group.count - number <= MOST_AHEAD) {
    report(request.place, "%s: warp %u begins another product than a warp of its group in %s:%d",
           request.operation, warp, begun.place.file, begun.place.line);
    stop_block();
  }
}

// The sums that the registers belong to: under way already, or new.
CUDA_ON_CPU_UNWATCHED inline unsigned sums_of(WarpProducts& mine, const Request& request) {
  unsigned unused = MOST_SUMS;
  for (unsigned i = 0; i < MOST_SUMS; i++) {
    if (!mine.sums[i].count) {
      unused = i;
    } else if (mine.sums[i].registers[0] == request.sums) {
      return i;
    }
  }
  if (unused == MOST_SUMS) {
    report(request.place, "%s: more than %u arrays of sums are under way", request.operation,
           MOST_SUMS);
    stop_block();
  }
  if (!mine.fenced) {
    report(request.place, "%s: a wgmma_fence() is missing between the last use of the sums, which "
           "are registers, and the product", request.operation);
    stop_block();
  }
  return unused;
}

CUDA_ON_CPU_UNWATCHED inline void begin_in_warp(Thread* lanes, unsigned) {
  const Request& request = request_of(lanes[0]);
  unsigned warp = lanes->number / WARP;
  WarpProducts& mine = products->warp[warp];
  release_ended(mine);
  check_lanes(lanes, request);
  check_group(warp, request);
  if (mine.count == MOST_PRODUCTS) {
    report(request.place, "%s: more than %u products are under way in warp %u", request.operation,
           MOST_PRODUCTS, warp);
    stop_block();
  }
  Product& product = mine.product[(mine.first + mine.count++) % MOST_PRODUCTS];
  product.a = decoded(request.a, request.a_across, "A", request.operation, request.place);
  product.b = decoded(request.b, request.b_across, "B", request.operation, request.place);
  product.columns = request.columns;
  product.group = mine.group;
  product.multiply = request.multiply;
  product.place = request.place;
  product.sums = sums_of(mine, request);
  mine.sums[product.sums].products++;
}

CUDA_ON_CPU_UNWATCHED inline bool under_way(const float& sum) {
  return bits_as<unsigned>(sum) == UNDER_WAY;
}

CUDA_ON_CPU_UNWATCHED inline void check_untouched(const Sums& sums, const Product& product) {
  unsigned lane = lane_of(current);
  for (unsigned i = 0; i < sums.count; i++) {
    if (under_way(sums.registers[lane][i])) continue;
    report(product.place, "the sums of this wgmma were written to before it was waited for, thread "
           "%u", current->number);
    stop_block();
  }
}

// Take a lane's sums out of its registers.
CUDA_ON_CPU_UNWATCHED inline void take_sums(const Product& product, const Request& request) {
  Sums& sums = products->warp[warp_of(current)].sums[product.sums];
  unsigned lane = lane_of(current);
  if (sums.products > 1) {  // they are under way already
    check_untouched(sums, product);
    return;
  }
  sums.registers[lane] = request.sums;
  sums.count = request.columns / 2;
  for (unsigned i = 0; i < sums.count; i++) {
    sums.value[lane][i] = request.sums[i];
    request.sums[i] = bits_as<float>(UNDER_WAY);
  }
}

CUDA_ON_CPU_UNWATCHED inline Product* begin_product(const Request& request) {
  WarpProducts& mine = have_products().warp[warp_of(current)];
  current->given.pointers[0] = &request;
  meet(request.operation, 0xffffffffu, begin_in_warp, request.place);
  Product* product = &mine.product[(mine.first + mine.count - 1) % MOST_PRODUCTS];
  take_sums(*product, request);
  return product;
}

CUDA_ON_CPU_UNWATCHED inline void fence_in_warp(Thread* lanes, unsigned) {
  WarpProducts& mine = products->warp[lanes->number / WARP];
  release_ended(mine);
  mine.fenced = true;
}
CUDA_ON_CPU_UNWATCHED inline void fence_registers(Place place) {
  have_products();
  meet("wgmma_fence()", 0xffffffffu, fence_in_warp, place);
}

// What any thread has written before is seen by products from now on. (On a GPU it is what this
// thread has written or has been told of by a barrier.)
CUDA_ON_CPU_UNWATCHED __attribute__((no_sanitize("address"))) inline void fence_shared_memory() {
  Products& all = have_products();
  const Chunk* shared = reinterpret_cast<const Chunk*>(dynamic_shared);
  for (size_t i = 0; i < MOST_SHARED / CHUNK; i++) all.fenced[i] = shared[i];
}

// Ending

CUDA_ON_CPU_UNWATCHED inline void commit_in_warp(Thread* lanes, unsigned) {
  WarpProducts& mine = products->warp[lanes->number / WARP];
  release_ended(mine);
  mine.group++;
}
CUDA_ON_CPU_UNWATCHED inline void commit_products(Place place) {
  have_products();
  meet("wgmma_commit()", 0xffffffffu, commit_in_warp, place);
}

// Word 0 is how many groups may be under way.
CUDA_ON_CPU_UNWATCHED inline void end_in_warp(Thread* lanes, unsigned) {
  WarpProducts& mine = products->warp[lanes->number / WARP];
  release_ended(mine);
  unsigned pending = lanes->given.words[0];
  while (mine.ended < mine.count) {
    const Product& product = mine.product[(mine.first + mine.ended) % MOST_PRODUCTS];
    if (product.group + pending >= mine.group) break;
    mine.ended++;
    Sums& sums = mine.sums[product.sums];
    sums.delivered = --sums.products == 0;
    if (sums.delivered) mine.fenced = false;
  }
}

CUDA_ON_CPU_UNWATCHED inline Product* ended_product(unsigned number) {
  WarpProducts& mine = products->warp[warp_of(current)];
  return number < mine.ended ? &mine.product[(mine.first + number) % MOST_PRODUCTS] : nullptr;
}

CUDA_ON_CPU_UNWATCHED inline void add_up(const Product& product) {
  Sums& sums = products->warp[warp_of(current)].sums[product.sums];
  check_untouched(sums, product);
  unsigned lane = lane_of(current);
  product.multiply(product, lane, sums.value[lane]);
}

CUDA_ON_CPU_UNWATCHED inline void deliver_sums() {
  unsigned lane = lane_of(current);
  for (Sums& sums : products->warp[warp_of(current)].sums) {
    for (unsigned i = 0; sums.delivered && i < sums.count; i++) {
      sums.registers[lane][i] = sums.value[lane][i];
    }
  }
}

CUDA_ON_CPU_UNWATCHED inline void end_groups(unsigned pending, Place place) {
  have_products();
  current->given.words[0] = pending;
  meet("wgmma_wait()", 0xffffffffu, end_in_warp, place);
}

inline void wait_for_products(unsigned pending, Place place) {
  end_groups(pending, place);
  for (unsigned i = 0; Product* product = ended_product(i); i++) {
    read_again(product);
    add_up(*product);
  }
  deliver_sums();
}

// At the end of a block: are all products waited for, and begun by all warps?
CUDA_ON_CPU_UNWATCHED inline void end_products() {
  for (unsigned warp = 0; warp < MOST_THREADS / WARP; warp++) {
    WarpProducts& mine = products->warp[warp];
    const GroupProducts& group = products->group[warp / WARPS_OF_GROUP];
    if (mine.count > mine.ended) {
      report(mine.product[(mine.first + mine.ended) % MOST_PRODUCTS].place,
             "no wgmma_wait() waits for this wgmma, warp %u", warp);
    }
    if (mine.begun < group.count) {
      report(group.begun[mine.begun % MOST_AHEAD].place,
             "a wgmma is begun by a warp, but not by warp %u of its group", warp);
    }
    mine.first = mine.count = mine.ended = mine.group = mine.begun = 0;
    mine.fenced = false;
    for (Sums& sums : mine.sums) sums.count = sums.products = sums.delivered = 0;
  }
  for (GroupProducts& group : products->group) group.count = 0;
  forget_fences();
  block.has_products = false;
}

// Arithmetic: a lane has the sums of rows l / 4 and l / 4 + 8 of the warp's, of columns 2 (l % 4)
// and the next one of each 8.

template <class Number>
CUDA_ON_CPU_UNWATCHED inline float number_at(const Operand& operand, const Chunk* chunks,
                                             unsigned row, unsigned term) {
  unsigned size = 4 / Number::COUNT;  // bytes
  unsigned at = operand.across ? (row / 8 * 16 + term) * CHUNK + row % 8 * size
                               : row * TERMS + term * size;
  unsigned word;
  __builtin_memcpy(&word, reinterpret_cast<const char*>(chunks) + at / 4 * 4, sizeof(word));
  return Number::number(word, at % 4 / size);
}

template <class Number>
CUDA_ON_CPU_UNWATCHED inline void multiply_products(const Product& product, unsigned lane,
                                                    float* sums) {
  constexpr unsigned COUNT = TERMS / 4 * Number::COUNT;
  float a[2][COUNT], b[COUNT];
  for (unsigned k = 0; k < COUNT; k++) {
    for (unsigned i = 0; i < 2; i++) {
      a[i][k] = number_at<Number>(product.a, product.chunks, lane / 4 + 8 * i, k);
    }
  }
  for (unsigned column = lane % 4 * 2; column < product.columns; column += 8) {
    for (unsigned j = 0; j < 2; j++) {
      for (unsigned k = 0; k < COUNT; k++) {
        b[k] = number_at<Number>(product.b, product.chunks + CHUNKS_OF_A, column + j, k);
      }
      for (unsigned i = 0; i < 2; i++) {
        float& sum = sums[column / 8 * 4 + 2 * i + j];
        for (unsigned k = 0; k < COUNT; k++) sum += a[i][k] * b[k];
      }
    }
  }
}

template <class Number, unsigned COLUMNS>
inline void warpgroup_product(const char* operation, float (&d)[COLUMNS / 2], unsigned long long a,
                              unsigned long long b, bool a_across, bool b_across, Place place) {
  static_assert(COLUMNS <= MOST_COLUMNS && COLUMNS % 8 == 0, "8 to 256 columns");
  Request request = {operation, a, b,     a_across, b_across, COLUMNS, d,
                     multiply_products<Number>, place};
  read_operands(begin_product(request));
}

}  // namespace cuda_on_cpu
