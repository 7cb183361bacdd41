// Memory of the pretended device: the host's, filled with ones before it is written (NaN, −1) and watched when it is free.
#pragma once

#include <ATen/detail/CUDAHooksInterface.h>

#include "state.h"

namespace pretended {

inline size_t rounded(size_t bytes) { return (bytes + 511) / 512 * 512; }
inline void spoil(Block* block) { memset(block->address, 0xFF, block->bytes); }

inline Block* fresh_block(size_t bytes, const StreamKey& key, int pool) {
  auto* block = new Block{aligned_alloc(512, bytes), bytes, key.first, key.second, pool};
  spoil(block);
  blocks[block->address] = block;
  usage[key.first].reserved += bytes;
  return block;
}

inline void destroy(Block* block) {
  usage[block->device].reserved -= block->bytes;
  blocks.erase(block->address);
  std::free(block->address);
  delete block;
}

/// From a graph's pool: the smallest free block that is large enough, as torch's allocator gives it.
inline Block* from_pool(Graph* graph, size_t bytes, const StreamKey& key) {
  Pool& pool = pools[graph->pool];
  auto best = pool.free.end();
  for (auto it = pool.free.begin(); it != pool.free.end(); ++it)
    if ((*it)->bytes >= bytes && (*it)->device == key.first && (best == pool.free.end() || (*it)->bytes < (*best)->bytes))
      best = it;
  Block* block;
  if (best == pool.free.end()) {
    block = fresh_block(bytes, key, graph->pool);
    pool.bytes += bytes;
  } else {
    block = *best;
    pool.free.erase(best);
    block->live = true;  // and as it is: until a replay, it holds what an earlier graph has written
  }
  graph->made.push_back(block);
  return block;
}

void release(void* address);

inline c10::DataPtr allocate(size_t bytes) {
  int device = current_device;
  c10::Device place(c10::DeviceType::CUDA, device);
  if (bytes == 0) return {nullptr, nullptr, &release, place};
  Lock lock(mutex);
  bytes = rounded(bytes);
  StreamKey key = here(device);
  auto& used = usage[device];
  Block* block;
  if (Graph* graph = capture_on(key)) {
    block = from_pool(graph, bytes, key);
  } else {
    if (used.limit >= 0 && used.current + (int64_t)bytes > used.limit)
      TORCH_CHECK_WITH(
          OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", bytes, " bytes (the pretended device ",
          device, " has ", used.limit, ")");
    for (auto it = pending.begin(); it != pending.end();) {
      if (it->owner != key) {
        ++it;
        continue;
      }
      if (seen(clocks[key], it->user) < it->time && seen(host, it->user) < it->time)
        report("HAZARD memory of " + name(it->owner) + " is given out while " + name(it->user) + " may use it: " + it->what);
      it = pending.erase(it);
    }
    block = fresh_block(bytes, key, 0);
  }
  used.current += block->bytes;
  used.allocations++;
  used.peak = std::max(used.peak, used.current);
  used.reserved_peak = std::max(used.reserved_peak, used.reserved);
  return {block->address, block->address, &release, place};
}

inline void release(void* address) {
  if (!address) return;
  Lock lock(mutex);
  auto found = blocks.find(address);
  if (found == blocks.end()) return;
  Block* block = found->second;
  block->live = false;
  usage[block->device].current -= block->bytes;
  if (block->pool && pools[block->pool].users) {
    pools[block->pool].free.push_back(block);
    return;
  }
  StreamKey owner{block->device, block->stream};
  auto note = [&](const StreamKey& user, uint64_t time) {
    if (user != owner && seen(clocks[owner], user) < time && seen(host, user) < time)
      pending.push_back({owner, user, time, block->last_writer});
  };
  if (block->written) note(block->writer, block->write_time);
  for (auto& [user, time] : block->readers) note(user, time);
  if (block->graphs) {  // a graph has the raw address: what it will find there is not what was
    spoil(block);
    return;
  }
  if (block->pool) pools[block->pool].bytes -= block->bytes;
  destroy(block);
}

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override { return pretended::allocate(bytes); }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { memcpy(to, from, bytes); }
};
inline DeviceAllocator device_allocator;

inline void release_pinned(void* address) {
  if (!address) return;
  Lock lock(mutex);
  pinned.erase(address);
  std::free(address);
}

struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    if (!bytes) return {nullptr, nullptr, &release_pinned, c10::Device(c10::DeviceType::CPU)};
    Lock lock(mutex);
    void* address = aligned_alloc(512, rounded(bytes));
    pinned[address] = rounded(bytes);
    return {address, address, &release_pinned, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release_pinned; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { memcpy(to, from, bytes); }
};
inline PinnedAllocator pinned_allocator;

inline bool is_pinned(const void* address) {
  Lock lock(mutex);
  auto it = pinned.upper_bound(const_cast<void*>(address));
  if (it == pinned.begin()) return false;
  --it;
  return (const char*)address < (const char*)it->first + it->second;
}

}  // namespace pretended
