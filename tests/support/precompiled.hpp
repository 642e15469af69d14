// SPDX-License-Identifier: MIT
// What most tests include, to be compiled once for all (RKNPU2_PRECOMPILED). Nobody includes this file by name.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>
