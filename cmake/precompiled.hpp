// SPDX-License-Identifier: MIT
// What most sources include, to be compiled once for all (RKNPU2_PRECOMPILED). Nobody includes this file by name.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>
