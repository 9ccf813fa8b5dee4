// Atomic operations on global and shared memory. Each returns the value from before.
#pragma once

namespace cuda_on_cpu {

template <size_t SIZE>
struct BitsOf;
template <>
struct BitsOf<2> {
  using type = uint16_t;
};
template <>
struct BitsOf<4> {
  using type = uint32_t;
};
template <>
struct BitsOf<8> {
  using type = uint64_t;
};

// The order that the thread sanitizer sees: an atomic operation also orders what stands around it,
// so that a counter may say which block is the last (with __threadfence, which a GPU needs there).
constexpr int ATOMIC_ORDER = __ATOMIC_ACQ_REL;

// Replace *address by change(*address).
template <class Value, class Change>
inline Value update(Value* address, Change change) {
  using Bits = typename BitsOf<sizeof(Value)>::type;
  Bits* bits = reinterpret_cast<Bits*>(address);
  Bits old = __atomic_load_n(bits, __ATOMIC_ACQUIRE);
  while (true) {
    Bits changed = bits_as<Bits>(static_cast<Value>(change(bits_as<Value>(old))));
    if (__atomic_compare_exchange_n(bits, &old, changed, false, ATOMIC_ORDER, __ATOMIC_ACQUIRE)) {
      return bits_as<Value>(old);
    }
  }
}

// A type that is not deduced: atomicAdd(unsigned*, 1) must compile.
template <class Value>
struct Same {
  using type = Value;
};
template <class Value>
using same = typename Same<Value>::type;

template <class Value, class... Known>
constexpr bool is_one_of = (std::is_same<Value, Known>::value || ...);

// A thread that waits for another in a loop must let it run. So many turns without any other event
// mean that it waits for ever.
constexpr unsigned MOST_SPINS = 20 * 1000 * 1000;

CUDA_ON_CPU_UNWATCHED inline void let_others_run(Place place) {
  if (++block.spins > MOST_SPINS) {
    report(place, "deadlock: thread %u waits in a loop for a change that does not come",
           current->number);
    stop_block();
  }
  next_thread();
}

}  // namespace cuda_on_cpu

// CUDA has each for some types alone.
#define CUDA_ON_CPU_HAS(name, ...)                                                             \
  static_assert(cuda_on_cpu::is_one_of<Value, __VA_ARGS__>,                                    \
                "CUDA has " name " for " #__VA_ARGS__ " alone. Cast to the unsigned type of "  \
                "the same size, or write a loop with atomicCAS")

template <class Value>
inline Value atomicAdd(Value* address, cuda_on_cpu::same<Value> value) {
  CUDA_ON_CPU_HAS("atomicAdd", int, unsigned, unsigned long long, float, double, cuda_on_cpu::Half,
                  cuda_on_cpu::Half2, cuda_on_cpu::Brain, cuda_on_cpu::Brain2);
  return cuda_on_cpu::update(address, [=](Value old) { return old + value; });
}
template <class Value>
inline Value atomicSub(Value* address, cuda_on_cpu::same<Value> value) {
  CUDA_ON_CPU_HAS("atomicSub", int, unsigned);
  return cuda_on_cpu::update(address, [=](Value old) { return old - value; });
}
template <class Value>
inline Value atomicMax(Value* address, cuda_on_cpu::same<Value> value) {
  CUDA_ON_CPU_HAS("atomicMax", int, unsigned, long long, unsigned long long);
  return cuda_on_cpu::update(address, [=](Value old) { return old < value ? value : old; });
}
template <class Value>
inline Value atomicMin(Value* address, cuda_on_cpu::same<Value> value) {
  CUDA_ON_CPU_HAS("atomicMin", int, unsigned, long long, unsigned long long);
  return cuda_on_cpu::update(address, [=](Value old) { return value < old ? value : old; });
}
template <class Value>
inline Value atomicAnd(Value* address, cuda_on_cpu::same<Value> value) {
  CUDA_ON_CPU_HAS("atomicAnd", int, unsigned, unsigned long long);
  return cuda_on_cpu::update(address, [=](Value old) { return old & value; });
}
template <class Value>
inline Value atomicOr(Value* address, cuda_on_cpu::same<Value> value) {
  CUDA_ON_CPU_HAS("atomicOr", int, unsigned, unsigned long long);
  return cuda_on_cpu::update(address, [=](Value old) { return old | value; });
}
template <class Value>
inline Value atomicXor(Value* address, cuda_on_cpu::same<Value> value) {
  CUDA_ON_CPU_HAS("atomicXor", int, unsigned, unsigned long long);
  return cuda_on_cpu::update(address, [=](Value old) { return old ^ value; });
}

// Count from 0 to `limit` and begin again; count down likewise.
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return cuda_on_cpu::update(address, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* address, unsigned limit) {
  return cuda_on_cpu::update(
      address, [=](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}

template <class Value>
inline Value atomicExch(Value* address, cuda_on_cpu::same<Value> value,
                        cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  CUDA_ON_CPU_HAS("atomicExch", int, unsigned, unsigned long long, float);
  Value old = cuda_on_cpu::update(address, [=](Value) { return value; });
  if (!__builtin_memcmp(&old, &value, sizeof(value))) cuda_on_cpu::let_others_run(place);
  return old;
}

// Replace *address if it has the bits of `expected`.
template <class Value>
inline Value atomicCAS(Value* address, cuda_on_cpu::same<Value> expected,
                       cuda_on_cpu::same<Value> value,
                       cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  CUDA_ON_CPU_HAS("atomicCAS", int, unsigned, unsigned long long, unsigned short);
  Value old = cuda_on_cpu::update(address, [=](Value found) {
    return __builtin_memcmp(&found, &expected, sizeof(found)) ? found : value;
  });
  if (__builtin_memcmp(&old, &expected, sizeof(old))) cuda_on_cpu::let_others_run(place);
  return old;
}

// For the threads of the block, and of the whole machine: here there are no others.
#define atomicAdd_block atomicAdd
#define atomicAdd_system atomicAdd
#define atomicSub_block atomicSub
#define atomicSub_system atomicSub
#define atomicMax_block atomicMax
#define atomicMax_system atomicMax
#define atomicMin_block atomicMin
#define atomicMin_system atomicMin
#define atomicAnd_block atomicAnd
#define atomicAnd_system atomicAnd
#define atomicOr_block atomicOr
#define atomicOr_system atomicOr
#define atomicXor_block atomicXor
#define atomicXor_system atomicXor
#define atomicExch_block atomicExch
#define atomicExch_system atomicExch
#define atomicCAS_block atomicCAS
#define atomicCAS_system atomicCAS
#define atomicInc_block atomicInc
#define atomicInc_system atomicInc
#define atomicDec_block atomicDec
#define atomicDec_system atomicDec
