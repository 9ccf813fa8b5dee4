// cp.async: copies from global to shared memory that arrive when they are waited for, no sooner.
//
// A GPU may deliver at any time before; here it is always the latest one, and until then the place
// holds NaN. So who reads without waiting, or overwrites what others still read, sees it.
#pragma once

namespace cuda_on_cpu {

constexpr unsigned MOST_COPIES = 256;  // of one thread, that are under way

struct Copy {
  void* to;
  const void* from;  // null: zeros
  unsigned size;
  unsigned group;
};

struct Copies {
  Copy copy[MOST_COPIES];  // a ring: from `first`, `count` of them
  unsigned first, count;
  unsigned group;  // how many groups were committed
};

inline Copies* copies;  // of each thread; beside the stacks, for it is large

CUDA_ON_CPU_UNWATCHED inline Copy* new_copy(Place place) {
  Copies& mine = copies[current->number];
  block.has_copies = true;
  if (mine.count == MOST_COPIES) {
    report(place, "thread %u has more than %u asynchronous copies under way", current->number,
           MOST_COPIES);
    stop_block();
  }
  return &mine.copy[(mine.first + mine.count++) % MOST_COPIES];
}

// The oldest copy, if it belongs to a group before this one; null if there is none.
CUDA_ON_CPU_UNWATCHED inline Copy* oldest_copy(unsigned group) {
  Copies& mine = copies[current->number];
  if (!mine.count || mine.copy[mine.first].group >= group) return nullptr;
  Copy* oldest = &mine.copy[mine.first];
  mine.first = (mine.first + 1) % MOST_COPIES;
  mine.count--;
  return oldest;
}

CUDA_ON_CPU_UNWATCHED inline unsigned current_group() { return copies[current->number].group; }
CUDA_ON_CPU_UNWATCHED inline void commit_group() {
  block.has_copies = true;
  copies[current->number].group++;
}

CUDA_ON_CPU_UNWATCHED inline void forget_copies() {
  block.has_copies = false;
  for (unsigned thread = 0; thread < MOST_THREADS; thread++) {
    copies[thread].first = copies[thread].count = copies[thread].group = 0;
  }
}

CUDA_ON_CPU_UNWATCHED inline void start_copy(void* to, const void* from, unsigned size, bool zeros,
                                             Place place) {
  uintptr_t places = reinterpret_cast<uintptr_t>(to);
  if (!zeros) places |= reinterpret_cast<uintptr_t>(from);
  if (places % size) {
    report(place, "an asynchronous copy of %u bytes is not aligned to %u bytes, thread %u", size,
           size, current->number);
    stop_block();
  }
  *new_copy(place) = {to, zeros ? nullptr : from, size, current_group()};
  memset(to, 0xff, size);
}

// Deliver all groups but the latest `pending`; a group that is not yet committed counts as none.
CUDA_ON_CPU_UNWATCHED inline void deliver_copies(unsigned pending) {
  unsigned committed = current_group();
  if (committed <= pending) return;
  while (Copy* copy = oldest_copy(committed - pending)) {
    if (copy->from) {
      memcpy(copy->to, copy->from, copy->size);
    } else {
      memset(copy->to, 0, copy->size);
    }
  }
}

}  // namespace cuda_on_cpu
