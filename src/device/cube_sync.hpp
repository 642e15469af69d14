// Has the device been told of what the CPU wrote to a cube? One char each, so that a vector can grow and be
// cleared; whoever keeps it guards it by a lock.
#pragma once

namespace rknpu2 {

inline constexpr char kNotSynced = 0;
inline constexpr char kSyncing = 1;  // one thread is at it
inline constexpr char kSynced = 2;

}  // namespace rknpu2
