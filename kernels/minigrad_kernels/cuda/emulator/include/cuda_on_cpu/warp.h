// Operations of a warp: shuffles, votes, __syncwarp.
//
// Each lane gives something and waits. The last to come computes what every lane takes, so that a
// lane waits once an operation, and its slots are its own again as soon as it goes on.
#pragma once

namespace cuda_on_cpu {

CUDA_ON_CPU_UNWATCHED inline unsigned lane_of(const Thread* thread) {
  return thread->number % WARP;
}
CUDA_ON_CPU_UNWATCHED inline Thread* lanes_of(const Thread* thread) {
  return &block.thread[thread->number - lane_of(thread)];
}

// The lanes that the block has: its last warp may not be full.
CUDA_ON_CPU_UNWATCHED inline unsigned lanes_in_warp(unsigned first_thread) {
  unsigned left = block.threads - first_thread;
  return left >= WARP ? 0xffffffffu : (1u << left) - 1;
}

[[noreturn]] CUDA_ON_CPU_UNWATCHED inline void refuse_mask(const char* operation, unsigned mask,
                                                           Place place, const char* why,
                                                           unsigned lane) {
  report(place, "%s with mask 0x%08x: lane %u of warp %u %s (called by thread %u)", operation,
         mask, lane, current->number / WARP, why, current->number);
  stop_block();
}

// Every lane of the mask must be there, or be able to come.
CUDA_ON_CPU_UNWATCHED inline void check_mask(const char* operation, unsigned mask, Place place) {
  Thread* me = current;
  if (!(mask >> lane_of(me) & 1)) {
    refuse_mask(operation, mask, place, "calls it but is not in the mask", lane_of(me));
  }
  unsigned missing = mask & block.warp[me->number / WARP].exited;
  if (missing) {
    refuse_mask(operation, mask, place, "is in the mask but has exited", __builtin_ctz(missing));
  }
}

// All lanes of the mask are there: have they called the same operation?
CUDA_ON_CPU_UNWATCHED inline void check_agreement(const char* operation, unsigned mask,
                                                  Collective collective, Place place) {
  Thread* lanes = lanes_of(current);
  for (unsigned lane = 0; lane < WARP; lane++) {
    Thread* other = &lanes[lane];
    if (!(mask >> lane & 1) || other == current) continue;
    if (other->mask == mask && other->collective == collective) continue;
    report(place, "%s with mask 0x%08x in thread %u, but thread %u waits at %s with mask 0x%08x "
           "in %s:%d", operation, mask, current->number, other->number, other->operation,
           other->mask, other->place.file, other->place.line);
    stop_block();
  }
}

CUDA_ON_CPU_UNWATCHED inline void release_lanes(Warp& warp, unsigned mask) {
  State* state = &block.state[current->number - lane_of(current)];
  for (unsigned lane = 0; lane < WARP; lane++) {
    if (mask >> lane & warp.waiting >> lane & 1) state[lane] = READY;
  }
  warp.waiting &= ~mask;
  warp.rounds++;
}

// Wait for the lanes of the mask; the last one lets `collective` compute what each of them takes.
CUDA_ON_CPU_UNWATCHED inline void meet(const char* operation, unsigned mask, Collective collective,
                                       Place place) {
  Thread* me = current;
  Warp& warp = block.warp[me->number / WARP];
  mask &= lanes_in_warp(me->number - lane_of(me));
  check_mask(operation, mask, place);
  unsigned others = mask & ~(1u << lane_of(me));
  if ((warp.waiting & others) != others) {
    me->mask = mask;
    me->collective = collective;
    warp.waiting |= 1u << lane_of(me);
    wait(AT_WARP, operation, place);
    return;
  }
  check_agreement(operation, mask, collective, place);
  if (collective) collective(lanes_of(me), mask);
  release_lanes(warp, mask);
}

// As `meet`, and what was written before is seen behind it. Shuffles and votes do not promise that.
CUDA_ON_CPU_UNWATCHED inline void synchronise(unsigned mask, Place place) {
  Warp& warp = block.warp[current->number / WARP];
  Signal& signal = warp.signals[warp.rounds & 1];
  signal.release();
  meet("__syncwarp()", mask, nullptr, place);
  signal.acquire();
}

// Shuffles: words 0 and 1 are the value, word 2 the lane to take it from

CUDA_ON_CPU_UNWATCHED inline void exchange(Thread* lanes, unsigned mask) {
  for (unsigned lane = 0; lane < WARP; lane++) {
    if (!(mask >> lane & 1)) continue;
    unsigned source = lanes[lane].given.words[2];
    // A lane that is not there gives nothing that is defined: the own value, as on most GPUs.
    if (!(mask >> source & 1)) source = lane;
    lanes[lane].taken.longs[0] = lanes[source].given.longs[0];
  }
}

template <class Value>
CUDA_ON_CPU_UNWATCHED inline Value take_from(const char* operation, unsigned mask, Value value,
                                             unsigned source, Place place) {
  static_assert(sizeof(Value) <= 8, "a shuffle moves at most 8 bytes");
  Thread* me = current;
  __builtin_memcpy(&me->given, &value, sizeof(value));
  me->given.words[2] = source;
  meet(operation, mask, exchange, place);
  __builtin_memcpy(&value, &me->taken, sizeof(value));
  return value;
}

// Votes: word 0 is the lane's condition, then the bits of all

CUDA_ON_CPU_UNWATCHED inline void count_votes(Thread* lanes, unsigned mask) {
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < WARP; lane++) {
    if (mask >> lane & 1) ballot |= (lanes[lane].given.words[0] != 0) << lane;
  }
  for (unsigned lane = 0; lane < WARP; lane++) {  // others may yet have to take something else
    if (mask >> lane & 1) lanes[lane].taken.words[0] = ballot;
  }
}

CUDA_ON_CPU_UNWATCHED inline unsigned ballot(const char* operation, unsigned mask, bool condition,
                                             Place place) {
  Thread* me = current;
  me->given.words[0] = condition;
  meet(operation, mask, count_votes, place);
  return me->taken.words[0];
}

CUDA_ON_CPU_UNWATCHED inline void match(Thread* lanes, unsigned mask) {
  for (unsigned lane = 0; lane < WARP; lane++) {
    unsigned equal = 0;
    for (unsigned other = 0; other < WARP; other++) {
      bool same = lanes[lane].given.longs[0] == lanes[other].given.longs[0];
      if (mask >> lane & mask >> other & 1) equal |= static_cast<unsigned>(same) << other;
    }
    if (mask >> lane & 1) lanes[lane].taken.words[0] = equal;
  }
}

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_HERE cuda_on_cpu::Place place = cuda_on_cpu::Place::here()

inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::synchronise(mask, place);
}

// `width` cuts the warp into groups, as if each were a warp.
template <class Value>
inline Value __shfl_sync(unsigned mask, Value value, int source, int width = 32,
                         CUDA_ON_CPU_HERE) {
  unsigned lane = cuda_on_cpu::lane_of(cuda_on_cpu::current);
  unsigned group = lane & ~(width - 1);
  source = group + (source & (width - 1));
  return cuda_on_cpu::take_from("__shfl_sync()", mask, value, source, place);
}

template <class Value>
inline Value __shfl_up_sync(unsigned mask, Value value, unsigned distance, int width = 32,
                            CUDA_ON_CPU_HERE) {
  int lane = cuda_on_cpu::lane_of(cuda_on_cpu::current);
  int group = lane & ~(width - 1), source = lane - static_cast<int>(distance);
  if (source < group) source = lane;
  return cuda_on_cpu::take_from("__shfl_up_sync()", mask, value, source, place);
}

template <class Value>
inline Value __shfl_down_sync(unsigned mask, Value value, unsigned distance, int width = 32,
                              CUDA_ON_CPU_HERE) {
  int lane = cuda_on_cpu::lane_of(cuda_on_cpu::current);
  int group = lane & ~(width - 1), source = lane + static_cast<int>(distance);
  if (source >= group + width) source = lane;
  return cuda_on_cpu::take_from("__shfl_down_sync()", mask, value, source, place);
}

template <class Value>
inline Value __shfl_xor_sync(unsigned mask, Value value, int bits, int width = 32,
                             CUDA_ON_CPU_HERE) {
  int lane = cuda_on_cpu::lane_of(cuda_on_cpu::current);
  int group = lane & ~(width - 1), source = lane ^ bits;
  if (source >= group + width) source = lane;
  return cuda_on_cpu::take_from("__shfl_xor_sync()", mask, value, source, place);
}

inline unsigned __ballot_sync(unsigned mask, int condition, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::ballot("__ballot_sync()", mask, condition != 0, place);
}
inline int __any_sync(unsigned mask, int condition, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::ballot("__any_sync()", mask, condition != 0, place) != 0;
}
inline int __all_sync(unsigned mask, int condition, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::ballot("__all_sync()", mask, condition == 0, place) == 0;
}

// The lanes that have not exited. On a GPU it may be fewer: those that are together just now.
CUDA_ON_CPU_UNWATCHED inline unsigned __activemask() {
  const cuda_on_cpu::Thread* me = cuda_on_cpu::current;
  unsigned first = me->number - cuda_on_cpu::lane_of(me), lanes = 0;
  for (unsigned lane = 0; lane < 32 && first + lane < cuda_on_cpu::block.threads; lane++) {
    if (cuda_on_cpu::block.state[first + lane] != cuda_on_cpu::EXITED) lanes |= 1u << lane;
  }
  return lanes;
}

// The lanes whose value has the same bits.
template <class Value>
CUDA_ON_CPU_UNWATCHED inline unsigned __match_any_sync(unsigned mask, Value value,
                                                       CUDA_ON_CPU_HERE) {
  static_assert(sizeof(Value) == 4 || sizeof(Value) == 8, "values of 4 or 8 bytes");
  cuda_on_cpu::Thread* me = cuda_on_cpu::current;
  me->given.longs[0] = 0;
  __builtin_memcpy(&me->given, &value, sizeof(value));
  cuda_on_cpu::meet("__match_any_sync()", mask, cuda_on_cpu::match, place);
  return me->taken.words[0];
}
// All of them if all have the same value, which `equal` then says; else none.
template <class Value>
inline unsigned __match_all_sync(unsigned mask, Value value, int* equal, CUDA_ON_CPU_HERE) {
  unsigned same = __match_any_sync(mask, value, place);
  unsigned all = mask & cuda_on_cpu::lanes_in_warp(cuda_on_cpu::current->number & ~31u);
  *equal = same == all;
  return *equal ? all : 0;
}

// Reductions, from Ampere on

namespace cuda_on_cpu {

template <class Value, class Operation>
CUDA_ON_CPU_UNWATCHED inline void reduce_lanes(Thread* lanes, unsigned mask) {
  Value result{};
  bool first = true;
  for (unsigned lane = 0; lane < WARP; lane++) {
    if (!(mask >> lane & 1)) continue;
    Value value = bits_as<Value>(lanes[lane].given.words[0]);
    result = first ? value : Operation::combine(result, value);
    first = false;
  }
  for (unsigned lane = 0; lane < WARP; lane++) {
    if (mask >> lane & 1) lanes[lane].taken.words[0] = bits_as<unsigned>(result);
  }
}

template <class Operation, class Value>
CUDA_ON_CPU_UNWATCHED inline Value reduce(const char* operation, unsigned mask, Value value,
                                          Place place) {
  current->given.words[0] = bits_as<unsigned>(value);
  meet(operation, mask, reduce_lanes<Value, Operation>, place);
  return bits_as<Value>(current->taken.words[0]);
}

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_REDUCTION(name, Value, combination)                                 \
  inline Value __reduce_##name##_sync(unsigned mask, Value value, CUDA_ON_CPU_HERE) {   \
    struct Operation {                                                                  \
      static Value combine(Value a, Value b) { return combination; }                    \
    };                                                                                  \
    const char* words = "__reduce_" #name "_sync()";                                    \
    return cuda_on_cpu::reduce<Operation>(words, mask, value, place);                   \
  }
CUDA_ON_CPU_REDUCTION(add, unsigned, a + b)
CUDA_ON_CPU_REDUCTION(add, int, static_cast<int>(static_cast<unsigned>(a) + b))
CUDA_ON_CPU_REDUCTION(min, unsigned, a < b ? a : b)
CUDA_ON_CPU_REDUCTION(min, int, a < b ? a : b)
CUDA_ON_CPU_REDUCTION(max, unsigned, a < b ? b : a)
CUDA_ON_CPU_REDUCTION(max, int, a < b ? b : a)
CUDA_ON_CPU_REDUCTION(and, unsigned, a & b)
CUDA_ON_CPU_REDUCTION(or, unsigned, a | b)
CUDA_ON_CPU_REDUCTION(xor, unsigned, a ^ b)
