// CUDA graphs: nothing is done while one is captured, and a replay works on the very addresses that it was captured on.
#pragma once

#include "operations.h"

namespace pretended {

inline Graph* capture_begin(int pool) {
  StreamKey key = here(current_device);
  TORCH_CHECK(key.second != 0, "CUDA graphs must be captured on a non-default stream");
  Lock lock(mutex);
  TORCH_CHECK(!capturing.count(key), "the stream is captured already");
  // c10/cuda/CUDACachingAllocator.cpp, beginAllocateToPool: a pool that holds memory must be in use by another graph.
  if (pool && pools.count(pool))
    TORCH_CHECK(pools[pool].users > 0 || pools[pool].bytes == 0, "use_count > 0 INTERNAL ASSERT FAILED (pretended)");
  auto* graph = new Graph();
  graph->pool = pool ? pool : next_pool++;
  graph->stream = key;
  pools[graph->pool].users++;
  // What the execution that finds shapes writes is taken back at the end.
  for (auto& [_, block] : blocks)
    if (block->pool == graph->pool)
      graph->before.emplace_back(block, std::string((const char*)block->address, block->bytes));
  capturing[key] = graph;
  return graph;
}

inline void capture_end(Graph* graph) {
  Lock lock(mutex);
  StreamKey key = here(current_device);
  for (auto it = capturing.begin(); it != capturing.end();)
    it = it->second == graph ? capturing.erase(it) : std::next(it);
  graph->ended = true;
  for (auto* block : graph->made) spoil(block);
  for (auto& [block, bytes] : graph->before) memcpy(block->address, bytes.data(), block->bytes);
  graph->before.clear();
  TORCH_CHECK(key == graph->stream, "Capture must end on the same stream it began on.");
  TORCH_CHECK(!graph->broken, "CUDA error: operation failed due to a previous error during capture");
}

inline void replay(Graph* graph) {
  TORCH_CHECK(graph->ended && !graph->broken, "Called CUDAGraph::replay without a preceding successful capture.");
  StreamKey key = here(current_device);
  c10::impl::ExcludeDispatchKeyGuard excluded(c10::DispatchKeySet(
      {c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot, c10::DispatchKey::AutocastCUDA,
       c10::DispatchKey::AutocastCPU}));
  at::AutoDispatchBelowADInplaceOrView below;
  for (auto& node : graph->nodes) {
    Stack stack(node.arguments.begin(), node.arguments.end());
    node.operation.callBoxed(&stack);
    const auto& schema = node.operation.schema();
    size_t first = stack.size() - schema.returns().size();
    for (auto& output : node.outputs) {
      const IValue& value = stack[first + output.result];
      output.destination.copy_(value.isTensor() ? value.toTensor() : value.toTensorVector()[output.item]);
    }
    if (node.workspace) {
      Lock lock(mutex);
      bool there = false;
      for (auto& [_, held] : workspaces) there = there || held.get() == node.workspace;
      if (!there) report("WORKSPACE of cuBLAS is gone that a live graph's " + schema.name() + " was recorded with");
    }
    launch(key, node.touched, schema.name());
  }
}

/// Takes the workspaces of its stream with it: CUDAGraph::reset() of torch 2.12 and 2.13.
inline void destroy_graph(Graph* graph) {
  Lock lock(mutex);
  for (auto it = workspaces.begin(); it != workspaces.end();)
    it = it->first.second == graph->stream ? workspaces.erase(it) : std::next(it);
  graph->nodes.clear();
  for (auto* block : graph->outside)
    if (--block->graphs == 0 && !block->live) destroy(block);
  Pool& pool = pools[graph->pool];
  if (--pool.users == 0) {
    for (auto* block : pool.free) {
      pool.bytes -= block->bytes;
      destroy(block);
    }
    pool.free.clear();
  }
  delete graph;
}

}  // namespace pretended
