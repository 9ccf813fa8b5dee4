// NVIDIA has a header of this name: asynchronous copies as functions.
#pragma once

inline void __pipeline_memcpy_async(void* to, const void* from, size_t size, size_t zeros = 0,
                                    cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  if ((size != 4 && size != 8 && size != 16) || (zeros && zeros != size)) {
    cuda_on_cpu::report(place, "__pipeline_memcpy_async() copies 4, 8 or 16 bytes, all or none");
    cuda_on_cpu::stop_block();
  }
  cuda_on_cpu::start_copy(to, from, static_cast<unsigned>(size), zeros == size, place);
}
inline void __pipeline_commit() { cuda_on_cpu::commit_group(); }
inline void __pipeline_wait_prior(size_t pending) {
  cuda_on_cpu::deliver_copies(static_cast<unsigned>(pending));
}
