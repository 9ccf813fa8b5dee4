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

template <class Value>
inline Value atomicAdd(Value* address, cuda_on_cpu::same<Value> value) {
  return cuda_on_cpu::update(address, [=](Value old) { return old + value; });
}
template <class Value>
inline Value atomicSub(Value* address, cuda_on_cpu::same<Value> value) {
  return cuda_on_cpu::update(address, [=](Value old) { return old - value; });
}
template <class Value>
inline Value atomicMax(Value* address, cuda_on_cpu::same<Value> value) {
  return cuda_on_cpu::update(address, [=](Value old) { return old < value ? value : old; });
}
template <class Value>
inline Value atomicMin(Value* address, cuda_on_cpu::same<Value> value) {
  return cuda_on_cpu::update(address, [=](Value old) { return value < old ? value : old; });
}
template <class Value>
inline Value atomicAnd(Value* address, cuda_on_cpu::same<Value> value) {
  return cuda_on_cpu::update(address, [=](Value old) { return old & value; });
}
template <class Value>
inline Value atomicOr(Value* address, cuda_on_cpu::same<Value> value) {
  return cuda_on_cpu::update(address, [=](Value old) { return old | value; });
}
template <class Value>
inline Value atomicXor(Value* address, cuda_on_cpu::same<Value> value) {
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
  Value old = cuda_on_cpu::update(address, [=](Value) { return value; });
  if (!__builtin_memcmp(&old, &value, sizeof(value))) cuda_on_cpu::let_others_run(place);
  return old;
}

// Replace *address if it has the bits of `expected`.
template <class Value>
inline Value atomicCAS(Value* address, cuda_on_cpu::same<Value> expected,
                       cuda_on_cpu::same<Value> value,
                       cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  Value old = cuda_on_cpu::update(address, [=](Value found) {
    return __builtin_memcmp(&found, &expected, sizeof(found)) ? found : value;
  });
  if (__builtin_memcmp(&old, &expected, sizeof(old))) cuda_on_cpu::let_others_run(place);
  return old;
}
